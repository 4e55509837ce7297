# commit.sh: functions of the worker that put a change in place and make it final.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

apply() {
	all_sources arrived
	rest
	problems=0 changed=0 linked=0 links=0 trees=1
	qhave='' qhave_dirs='' qnew='' qcheck='' qmodes='' qmoded=''
	all_dirs check_dir
	all_files check_file
	qsymlinks=
	all_links check_symlink
	all_modes check_mode
	all_removes check_remove
	trees_found=$nl
	all_trees check_tree
	[ "$linked$problems" = 10 ] && one_name_each
	[ "$problems" = 0 ] || quit ''
	all_dirs existing_dir
	lasting
	: >have
	: >sums
	if [ -n "$qhave" ]; then
		eval "sha256sum $qhave" >sums 2>err || quit "cannot read what is to be replaced: $(reason err)"
	fi
	if [ -n "$qhave$qhave_dirs" ]; then
		eval "stat -L -c '%f %u %g' $qhave $qhave_dirs" >have 2>err || quit "cannot look at what is to be replaced: $(reason err)"
	fi
	exec 5<sums 6<have
	all_files compare_file
	all_dirs compare_dir
	exec 5<&- 6<&-
	if [ -n "$qmodes" ]; then
		eval "stat -c %a $qmodes" >have 2>err || quit "cannot look at what is to be changed: $(reason err)"
		exec 6<have
		all_modes compare_mode
		exec 6<&-
	fi
	all_removes compare_remove
	all_keeps keep_copy
	kernel_plan
	[ "$changed" = 1 ] || return 0
	if labelled && ! command -v restorecon >/dev/null 2>&1; then
		quit "SELinux is on, and restorecon, which gives files their labels, is missing: install the package that has it, such as policycoreutils"
	fi

	: >clean
	stages=$nl qstages=''
	find_home
	[ "$trees" = 0 ] || all_dirs grow_tree
	all_dirs stage_dir
	all_trees stage_tree
	[ "$links" = 0 ] || all_files stage_link
	if [ -n "$qstages" ]; then
		eval "mkdir -p $qstages" 2>err || quit "cannot write beside what is to be replaced: $(reason err)"
	fi
	all_dirs fill_dir
	[ "$links" = 0 ] || all_files fill_link
	all_keeps stage_copy
	write_undo
	arm
	trap '' TERM INT
	commit_dirs
	all_dirs move_in
	unmoved=
	all_dirs wait_moved
	[ -z "$unmoved" ] || quit_path "$unmoved" "${why:-mv was killed}"
	all_links make_symlink
	all_dirs take_out
	all_trees take_tree
	[ "$links" = 0 ] || all_files place_link
	all_modes give_mode
	kernel_set kernel_change
	confirm
	relabel
	starts start_service
	trap 'quit "$late"' TERM INT
}

# labelled says whether files have SELinux labels here.
labelled() { [ -e /sys/fs/selinux/enforce ]; }

# Putting in place.

commit_dirs() {
	qmake='' mode_=''
	all_dirs list_new
	make_listed
	all_dirs own_dir
}

# list_new has new directories made, those of one mode that follow each other
# with one command; parents come first.
list_new() {
	eval "state=\$d$1 carried=\$t$1"
	[ "$state$carried" = new0 ] || return 0
	[ "$3" = "$mode_" ] || make_listed
	mode_=$3 qmake="$qmake $6"
}

make_listed() {
	[ -n "$qmake" ] || return 0
	# Five digits take a setgid bit away that comes from the parent.
	eval "mkdir -m 00$mode_ $qmake" 2>err || quit "cannot make what is missing: $(reason err)"
	qmake=
}

own_dir() {
	eval "state=\$d$1 carried=\$t$1"
	case $state$carried in
	new0)
		# A directory gets its parent's group where that is setgid.
		if [ "$4" != 0:0 ] || [ -g "${5%/*}/" ]; then
			try "$5" chown "$4" "$5"
		fi
		;;
	other0)
		try "$5" chown "$4" "$5"
		try "$5" chmod "00$3" "$5"
		;;
	esac
}

# move_in D NEED MODE OWNER PATH QPATH moves what is new to directory D, which
# other directories need not wait for.
move_in() {
	eval "todo=\$m$1 new=\${N$1-}"
	[ -n "$todo" ] || return 0
	(eval "exec mv -f $todo $6/") 2>"mv.$1" &
	eval "p$1=$!"
}

# wait_moved D NEED MODE OWNER PATH waits for that. Nothing may be put back before
# all of it has come to rest.
wait_moved() {
	eval "mover=\${p$1-}"
	[ -z "$mover" ] || wait "$mover" || unmoved=$5 why=$(first_line "mv.$1")
}

# take_out D NEED MODE OWNER PATH removes what is to go from directory D.
take_out() {
	eval "gone=\$r$1"
	[ -n "$gone" ] || return 0
	eval "rm -f $gone" 2>err || quit_path "$5" "$(reason err)"
}

place_link() {
	eval "state=\$f$1"
	[ "$state" = link ] || return 0
	eval "stage=\$S_$1 real=\$real_$1"
	try "$4" mv -f "$stage/new/${real##*/}" "$real"
}

# give_mode MODE PATH QPATH
give_mode() {
	case $qmoded in *" $3 "*) try "$2" chmod "0$1" "$2" ;; esac
}

# make_symlink PATH QPATH TARGET
make_symlink() {
	case $qsymlinks in *" $2 "*) ;; *) return 0 ;; esac
	try "$1" ln -s "$3" "$1"
	try "$1" chown -h 0:0 "$1"
}

# confirm compares modes and owners with what was asked for: there are file
# systems that do not keep them.
confirm() {
	all_dirs list_dir
	all_files list_file
	[ -n "$qcheck$qmoded" ] || return 0
	(eval "exec stat -L -c '%f %u %g' $qcheck $qmoded") >have 2>have.err &
	children=$! confirming=$!
}

# confirmed waits for what confirm has begun.
confirmed() {
	[ -n "$confirming" ] || return 0
	wait "$confirming" || quit "cannot look at what was written: $(first_line have.err)"
	exec 6<have
	all_dirs confirm_dir
	all_files confirm_file
	all_modes confirm_mode
	exec 6<&-
}

list_dir() {
	eval "state=\$d$1"
	case $state$2 in new* | *2) qcheck="$qcheck $6" ;; esac
}

list_file() { qcheck="$qcheck $5"; }

confirm_dir() {
	eval "state=\$d$1"
	case $state$2 in new* | *2) confirm_line "$5" "$7" ;; esac
}

confirm_file() { confirm_line "$4" "$6"; }

confirm_mode() {
	case $qmoded in *" $3 "*) ;; *) return 0 ;; esac
	IFS= read -r have <&6
	[ "$((0x${have%% *} & 07777))" = "$((0$1))" ] || quit_path "$2" "the file system made $have of mode $1 (mode in hex, user, group)"
}

confirm_line() {
	IFS= read -r have <&6
	[ "$have" = "$2" ] || quit_path "$1" "the file system made $have of mode and owner $2 (mode in hex, user, group)"
}

# relabel gives what was written its SELinux label, by the path where it really
# is: restorecon labels a link and not what it leads to, and where a policy
# confines it, it may follow none and write to no file of ours.
relabel() {
	labelled || return 0
	todo="$qcheck $qnew"
	if [ "$linked" = 1 ]; then
		eval "set -- $todo"
		todo=
		for at; do
			quote "$(readlink -f "$at")"
			todo="$todo $quoted"
		done
	fi
	said=$(eval "restorecon $todo$qsymlinks" 2>&1) || quit "cannot restore SELinux labels: ${said%%"$nl"*}"
}

# settle makes the change final.
settle() { { true >settled; } 2>err || quit "cannot finish: $(reason err)"; }
