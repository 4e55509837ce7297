# stage.sh: functions of the worker that have the files of a change wait where a
# rename puts them in place, and write down how all of it is taken back.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# arrived NAME PATH SUM MODE OWNER WANT ends the run unless what came as NAME, for
# PATH, has the SHA-256 with which it was sent. What the machine said that it has was
# not sent: where it is not as wanted there, a copy is put in its place like any
# other file.
arrived() {
	if ! [ -e "$1" ]; then
		[ "$(stat -L -c '%f %u %g' "$2" 2>err)" != "$6" ] || return 0
		try "$2" cp "$2" "$1"
		try "$2" chown "$5" "$1"
		try "$2" chmod "0$4" "$1"
	fi
	line=$(sha256sum <"$1" 2>err) || quit_path "$2" "$(reason err)"
	case $line in "$3 "*) ;; *) quit_path "$2" "it did not arrive as it was sent" ;; esac
}

# find_home tells which directories are on the same file system as this script's
# own, so that files can be renamed from here to there: from the file "mounts",
# how many of all these directories something is mounted on, which has to be
# none, and from the file "places", with lines DEVICE:DIRECTORY, since a part of
# a file system may be a device of its own. Where a label would come along that
# is another directory's, nothing is renamed from here.
find_home() {
	home=none places=$nl mounts=
	labelled && return
	IFS= read -r mounts <mounts
	[ "$mounts" = 0 ] || return 0
	while IFS=: read -r device directory; do
		case $directory in
		.) home=$device ;;
		*) places="$places$directory $device$nl" ;;
		esac
	done <places
}

# grow_tree D NEED MODE OWNER PATH QPATH WANT PARENT QBASE has a new directory
# carried to its place with everything below it: the archive brought it as it is
# to be. Above it is a directory that exists, on this script's file system, or
# one that is carried itself.
grow_tree() {
	eval "state=\$d$1 carried=\$t$8"
	[ "$state" = new ] || return 0
	if [ "$carried" = 0 ]; then
		case $places in
		*"$nl${5%/*} $home$nl"*) eval "m$8=\"\$m$8 \\\"\\\$new\\\"/\$9\" N$8=\$work/w\${5%/*}" ;;
		*) return 0 ;;
		esac
	fi
	eval "t$1=1 m$1= n$1= N$1=\$work/w\$5"
}

# stage_dir D NEED MODE OWNER PATH finds the places where new and old files of
# directory D wait, on the same file system: here, where the new ones are
# already, or in the nearest directory above D that exists.
stage_dir() {
	eval "todo=\$n$1\$o$1\$k$1"
	[ -n "$todo" ] || return 0
	at=$5
	while ! [ -d "$at" ]; do
		at=${at%/*}
		[ -n "$at" ] || at=/
	done
	case $places in
	*"$nl$at $home$nl"*)
		eval "N$1=\$work/w\$5 O$1=\$work/o/$1 todo=\$o$1"
		[ -d "w$5" ] || qstages="$qstages w$6"
		[ -z "$todo" ] || qstages="$qstages o/$1"
		;;
	*)
		stage_at "$at" "$1"
		eval "N$1=\$stage/new O$1=\$stage/old"
		;;
	esac
}

# stage_at DIRECTORY NAME plans a staging directory NAME in DIRECTORY. How it is
# removed is written down before it is made.
stage_at() {
	stage=${1%/}/.k3s-cis-$nonce
	quote "$stage"
	case $stages in
	*"$nl$stage$nl"*) ;;
	*)
		stages="$stages$stage$nl"
		# Where there is no /var/lib it may be this script's own directory.
		if ! [ "$stage" -ef "$work" ]; then
			printf 'rm -rf %s || left=1; [ -z "${left-}" ]\n' "$quoted" >>clean
			drop="$drop $quoted"
		fi
		;;
	esac
	qstages="$qstages $quoted/$2/new $quoted/$2/old"
	stage=$stage/$2
}

# fill_dir D NEED MODE OWNER PATH puts new files of D and links to the old ones
# where they wait.
fill_dir() {
	eval "todo=\$n$1 new=\${N$1-} old=\${O$1-}"
	[ "$new" = "$work/w$5" ] && todo=
	if [ -n "$todo" ] && ! eval "cp -p $todo \"\$new/\"" 2>err; then
		blame=$1
		all_files blame_copy
		quit_path "$5" "$(reason err)"
	fi
	eval "todo=\$o$1"
	if [ -n "$todo" ] && ! eval "ln $todo \"\$old/\"" 2>err; then
		blame=$1
		all_files blame_link
		all_removes blame_link
		quit_path "$5" "$(reason err)"
	fi
	return 0
}

# blame_copy and blame_link do one file after the other, to find out which it
# is that cannot be staged.
blame_copy() {
	eval "state=\$f$1"
	if [ "$2" = "$blame" ] && { [ "$state" = new ] || [ "$state" = old ]; }; then
		try "$4" cp -p "w$4" "$new/"
	fi
}

blame_link() {
	eval "state=\$f$1"
	if [ "$2" = "$blame" ] && [ "$state" = old ] && ! [ -e "$old/$3" ]; then
		try "$4" ln "$4" "$old/"
	fi
}

# stage_link stages a file whose path is a symbolic link: what the link leads
# to is replaced, since that is what a program opens.
stage_link() {
	eval "state=\$f$1"
	[ "$state" = link ] || return 0
	real=$(readlink -f "$4") || quit_path "$4" "where the symbolic link leads cannot be told"
	stage_at "${real%/*}" "l$1"
	eval "S_$1=\$stage real_$1=\$real"
}

fill_link() {
	eval "state=\$f$1"
	[ "$state" = link ] || return 0
	eval "stage=\$S_$1 real=\$real_$1"
	base=${real##*/}
	try "$4" cp -p "w$4" "$stage/new/$base"
	try "$4" ln "$real" "$stage/old/$base"
}

# stage_copy D BASE COPY QCOPY F ORIGINAL QBASE
stage_copy() {
	eval "todo=\$k$1"
	case " $qnew " in *" $4 "*) ;; *) return 0 ;; esac
	eval "new=\$N$1"
	# Root's, by the umask for root alone, and not to be run.
	try "$3" cp "$6" "$new/$2"
	try "$3" chmod u-x "$new/$2"
}

# Undoing. The whole of it is written down before anything is touched, and each
# line may run twice.

undo_head='trap '\'''\'' HUP INT TERM PIPE
failed=0
back() {
	for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
		if { [ -e "$f" ] || [ -L "$f" ]; } && ! [ "$f" -ef "$2/${f##*/}" ]; then
			mv -f "$f" "$2/" || failed=1
		fi
	done
}'

write_undo() {
	{
		printf '%s\n' "$undo_head"
		[ -z "$qnew" ] || printf 'rm -f %s || failed=1\n' "$qnew"
		[ -z "$qsymlinks" ] || printf 'for f in %s; do [ ! -L "$f" ] || rm -f "$f" || failed=1; done\n' "$qsymlinks"
		all_dirs undo_place
		all_trees undo_tree
		[ "$links" = 0 ] || all_files undo_link
		qgone=
		all_dirs undo_dir
		[ -z "$qgone" ] || printf 'rmdir %s 2>/dev/null\n' "$qgone"
		[ -s modes.undo ] && cat modes.undo
		[ -s kernel.undo ] && cat kernel.undo
		printf '[ "$failed" = 0 ] || exit 1\nsync\n'
		show clean
		printf '[ -z "${left-}" ] || exit 1\necho undone\n'
	} >undo 2>err || quit "cannot prepare: $(reason err)"
}

# arm makes the undoing count.
arm() {
	on_disk
	# Not the command : since dash would end where that cannot make the file.
	{ true >armed; } 2>err || quit "cannot prepare: $(reason err)"
	[ -z "$drop" ] || on_disk
}

# show prints file $1, which is short.
show() { while IFS= read -r line; do printf '%s\n' "$line"; done <"$1"; }

undo_place() {
	eval "todo=\$o$1"
	[ -n "$todo" ] || return 0
	eval "quote \"\$O$1\""
	printf 'back %s %s\n' "$quoted" "$6"
}

undo_link() {
	eval "state=\$f$1"
	[ "$state" = link ] || return 0
	eval "quote \"\$S_$1\""
	qstage=$quoted
	eval "quote \"\${real_$1%/*}\""
	printf 'back %s/old %s/\n' "$qstage" "$quoted"
}

undo_dir() {
	eval "state=\$d$1"
	case $state in
	new) qgone="$6 $qgone" ;;
	other)
		eval "was=\$w$1"
		owner=${was#* }
		printf '[ "$(stat -L -c "%%f %%u %%g" %s)" = "%s" ] || { chown %s:%s %s && chmod 00%o %s; } || failed=1\n' \
			"$6" "$was" "${owner% *}" "${owner#* }" "$6" "$((0x${was%% *} & 07777))" "$6"
		;;
	esac
}
