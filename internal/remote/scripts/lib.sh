# lib.sh: functions of the worker. Values named q… hold shell words that are
# quoted already and are only used through eval. The functions all_dirs,
# all_files, all_sources, all_modes, all_removes, all_trees, all_keeps and assumed are in plan.sh.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

nl='
'

# report adds a line to the answer, which then is to be counted again.
report() {
	lines=
	printf '%s\n' "$*" >>report
}

# first_line prints the first line of file $1.
first_line() {
	line=
	IFS= read -r line <"$1"
	printf '%s' "$line"
}

# reason prints what the failed command said whose errors went to file $1. A full
# disk has no room for that.
reason() {
	line=$(first_line "$1")
	if [ -z "$line" ]; then
		head -c 65536 /dev/zero >./more 2>/dev/null || line='No space left on device'
		rm -f more
	fi
	printf '%s' "$line"
}

# full prints where the file systems are mounted that hold staging directories
# and have no room left.
full() {
	for what in '' -i; do
		eval "df -P $what . $drop" 2>/dev/null
	done | while read -r _ _ _ left _ at; do
		case $left in [0-9] | [0-9][0-9]) printf '%s\n' "$at" ;; esac
	done | sort -u
}

# problem notes what is in the way of path $1.
problem() {
	problems=1
	report "error cannot change $1: $2"
}

# try runs a command; on failure it ends the run, saying what about path $1.
try() {
	try_path=$1
	shift
	"$@" 2>err || quit_path "$try_path" "$(reason err)"
}

quit_path() { quit "cannot change $1: $2"; }

# quit takes everything back and says why.
quit() {
	trap '' TERM INT
	# shellcheck disable=SC2086
	[ -z "$children" ] || kill $children 2>/dev/null
	why=$*
	case $why in
	*'No space left on device'*) why="$why; the disk is full: $(full | tr '\n' ' ')" ;;
	esac
	back_out
	# What was kept free, to have room to say it.
	rm -f room
	[ -z "$why" ] || report "error ${why% }"
	stream failed
	exit 1
}

back_out() {
	if [ -f armed ] && ! [ -f settled ]; then
		if took_back . 2>err; then
			true >settled
		else
			keep=yes
			report "error what was there before could not be put back: $(not_back "$work" err)"
		fi
	elif [ -f clean ]; then
		tidy .
	fi
}

# took_back runs the script that undoes what was done from the staging directory
# $1. Only its last command says that it did: where the power went away the script
# may be empty, or end in the middle. The second time is for a first one that was
# killed.
took_back() { [ "$(sh "$1/undo")" = undone ] || [ "$(sh "$1/undo")" = undone ]; }

# not_back DIRECTORY ERRORS says why that failed, and where the originals are.
not_back() {
	line=$(first_line "$2")
	printf '%s; the originals are in %s' "${line:-the script that does it is not whole}" "$1"
	[ ! -f "$1/clean" ] || sed -n "s/^rm -rf '\(.*\)' || left=1.*/ and \1/p" "$1/clean" | tr -d '\n'
	printf ': put them back, remove these directories and run again'
}

# tidy removes what the staging directory $1 has made elsewhere. The second
# time is for a first one that was killed.
tidy() { sh "$1/clean" 2>/dev/null || sh "$1/clean"; }

# quote sets quoted to $1 as one shell word.
quote() {
	rest=$1
	quoted=
	while :; do
		case $rest in
		*\'*)
			quoted="$quoted${rest%%\'*}'\\''"
			rest=${rest#*\'}
			;;
		*) break ;;
		esac
	done
	quoted="'$quoted$rest'"
}

# find_awk sets awk to the name of one that is there.
find_awk() {
	for awk in awk mawk gawk; do
		command -v "$awk" >/dev/null 2>&1 && break
	done
}

# wait_turn waits until no other run is at work here, as long as the timeout.
wait_turn() {
	late="another run was at work on this machine for longer than the timeout of $seconds s"
	until claim; do sleep 1; done
	late=$stopped
}

# claim says whether it is this run's turn. It looks for others when it has its own
# mark, so that of two at once one sees the other at least; of two that do, the one
# whose name comes later steps back.
claim() {
	{ true >turn; } 2>/dev/null
	for base in /var/lib /run /etc ''; do
		for other in "$base"/.k3s-cis-*; do
			if [ -f "$other/turn" ] && ! [ "$other" -ef "$work" ] && lives "$other"; then
				first=$(printf '%s\n' "${work##*/}" "${other##*/}" | sort | head -n 1)
				[ "$first" = "${work##*/}" ] || rm -f turn
				return 1
			fi
		done
	done
}

# lives says whether anything of the run of staging directory $1 is still there.
lives() {
	for process in /proc/[0-9]*; do
		[ "$process/cwd" -ef "$1" ] && return
	done
	return 1
}

# recover undoes what an earlier run left that was killed together with its
# guard, or whose machine lost its power.
recover() {
	for base in /var/lib /run /etc ''; do
		for old in "$base"/.k3s-cis-*; do
			if [ -d "$old" ] && ! [ -L "$old" ] && [ -O "$old" ] && ! [ "$old" -ef "$work" ]; then
				recover_from "$old"
			fi
		done
	done
	all_dirs sweep_dir
}

recover_from() {
	# One that waits for its turn has changed nothing.
	lives "$1" && return
	if [ -f "$1/armed" ] && ! [ -f "$1/settled" ]; then
		took_back "$1" 2>err || quit "an earlier run was cut off, and what was there before it could not be put back: $(not_back "$1" err)"
		report recovered
	elif [ -f "$1/clean" ]; then
		tidy "$1"
	fi
	rm -f "$1/armed"
	rm -rf "$1"
}

# sweep_dir D NEED MODE OWNER PATH removes what a run staged in directory D whose
# own staging directory is not there any more, as after a power cut. An original
# is still in its place where it has another name than the one here.
sweep_dir() {
	for old in "${5%/}"/.k3s-cis-*; do
		if ! [ -d "$old" ] || [ -L "$old" ] || ! [ -O "$old" ]; then
			continue
		fi
		for base in /var/lib /run /etc ''; do
			[ -d "$base/${old##*/}" ] && continue 2
		done
		only=$(find "$old" -path '*/old/*' -links 1 2>/dev/null)
		[ -z "$only" ] || quit "an earlier run was cut off, and ${only%%"$nl"*} has what was there before it: put it back into $5, remove $old and run again"
		rm -rf "$old"
	done
}

# The disk.

# on_disk has the disk hold all that was written so far, here and by others: what
# is judged is what a machine finds after its power went away.
on_disk() {
	force 2>err || quit "what was written does not get to the disk: $(reason err)"
}

force() {
	[ "$durable" = yes ] || return 0
	[ "${qdisks+found}" ] || find_disks
	said=$(eval "exec sync $qdisks" 2>&1) && return
	case $said in
	*'No such file or directory'*)
		# Something was unmounted meanwhile.
		find_disks
		said=$(eval "exec sync $qdisks" 2>&1) && return
		;;
	esac
	printf '%s\n' "$said" >&2
	return 1
}

# find_disks sets qdisks to what sync gets: one directory of each file system of
# a disk, so that a share whose server is gone is not waited for; nothing, which
# is all of them, where sync takes no directories.
find_disks() {
	qdisks=
	if ! [ "${sync_takes+read}" ]; then
		sync_takes=
		IFS= read -r sync_takes <sync.takes
	fi 2>/dev/null
	case $sync_takes in '' | 0) return 0 ;; esac
	at_disks=$(awk '
		{
			for (i = 7; i < NF && $i != "-"; i++);
			disk = $(i + 2) ~ /^\/dev\// || $(i + 1) ~ /^(btrfs|zfs|bcachefs|overlay)$/
		}
		!disk || $(i + 1) ~ /^(devtmpfs|fuse.*)$/ || $5 ~ /^\/(proc|sys|dev|run)(\/|$)/ || $3 in seen { next }
		{ seen[$3] }
		$5 != "/" { print $5 }' /proc/self/mountinfo 2>/dev/null) || return 0
	# How the kernel writes odd characters.
	case $at_disks in *\\*) return 0 ;; esac
	IFS=$nl
	set -f
	# shellcheck disable=SC2086
	set -- $at_disks
	set +f
	unset IFS
	qdisks='-f /'
	for at do
		[ -d "$at" ] || continue
		quote "$at"
		qdisks="$qdisks $quoted"
	done
}

# Assumptions.

assumptions_hold() {
	holds=1
	qsum=
	assumed assume_there
	[ "$holds" = 1 ] || return 1
	if [ -n "$qsum" ]; then
		eval "sha256sum $qsum" >sums 2>err || quit "cannot tell whether the files are as they were planned for: $(reason err)"
		exec 5<sums
		assumed assume_sum
		exec 5<&-
	fi
	assumed_children
	[ "$holds" = 1 ]
}

# assume_there PATH QPATH SUM|SUM|… where - stands for absent
assume_there() {
	if [ -f "$1" ]; then
		qsum="$qsum $2"
	elif [ -e "$1" ]; then
		holds=0
	else
		case "|$3|" in *'|-|'*) ;; *) holds=0 ;; esac
	fi
}

assume_sum() {
	[ -f "$1" ] || return 0
	next_sum
	case "|$3|" in *"|$have_sum|"*) ;; *) holds=0 ;; esac
}

# next_sum reads the next sum of descriptor 5; names that have to be escaped
# make sha256sum begin the line with a backslash.
next_sum() {
	have_sum=
	IFS=' ' read -r have_sum line <&5
	have_sum=${have_sum#\\}
}

# Planning: what is there already, and is it as wanted?

# check_dir D NEED MODE OWNER PATH: NEED is 0 for a parent of what is to be
# removed, 1 for a parent, 2 for one that gets this mode and owner
check_dir() {
	eval "d$1=none t$1=0 n$1= o$1= m$1= r$1= k$1="
	if [ -d "$5" ]; then
		eval "d$1=old"
		[ -L "$5" ] && linked=1
	elif [ "$2" = 0 ]; then
		:
	elif [ -L "$5" ]; then
		problem "$5" "$5 is a symbolic link to $(readlink "$5"), which leads nowhere"
	elif [ -e "$5" ]; then
		problem "$5" "it is there already and is not a directory"
	else
		eval "d$1=new"
	fi
	return 0
}

# check_file F D BASE PATH QPATH
check_file() {
	eval "f$1=new c$1=1"
	if [ -L "$4" ]; then
		linked=1
		if ! [ -e "$4" ]; then
			problem "$4" "$4 is a symbolic link to $(readlink "$4"), which leads nowhere"
			return
		fi
		eval "f$1=link"
	elif [ -e "$4" ]; then
		eval "f$1=old"
	else
		return 0
	fi
	if [ -f "$4" ]; then
		qhave="$qhave $5"
	else
		problem "$4" "it is there already and is not a regular file"
	fi
}

# check_symlink PATH QPATH TARGET
check_symlink() {
	if [ -L "$1" ] && [ "$(readlink "$1")" = "$3" ]; then
		return
	fi
	if [ -L "$1" ] || [ -e "$1" ]; then
		problem "$1" "it is there already and is not a symbolic link to $3"
		return
	fi
	changed=1
	qsymlinks="$qsymlinks $2 "
	report "changed $1"
}

# check_mode MODE PATH QPATH. Whether its directory has another name too is not
# known, so that all names are compared.
check_mode() {
	if [ -f "$2" ] && ! [ -L "$2" ]; then
		qmodes="$qmodes $3 " linked=1
	elif [ -e "$2" ] || [ -L "$2" ]; then
		problem "$2" "it is there already and is not a regular file"
	fi
}

# check_remove F D BASE PATH
check_remove() {
	eval "f$1=none c$1=0"
	if [ -L "$4" ] || [ -e "$4" ]; then
		eval "f$1=old c$1=1"
		if [ -d "$4" ] && ! [ -L "$4" ]; then
			problem "$4" "it is a directory, and only files are removed"
		fi
	fi
}

# one_name_each refuses two paths that are one through a symbolic link.
one_name_each() {
	: >names
	all_dirs name_dir
	all_files name_file
	all_modes name_mode
	all_removes name_file
	twice=$(sort names | uniq -d)
	[ -z "$twice" ] || problem "${twice%%"$nl"*}" "two paths of the change are the same one through a symbolic link"
	all_trees name_tree
}

# real sets real to where directory $1 is, links resolved, also if it is to be
# made.
real() {
	above=$1
	below=
	while ! [ -d "$above" ]; do
		below=/${above##*/}$below
		above=${above%/*}
		[ -n "$above" ] || above=/
	done
	real=$(cd -P "$above" && pwd -P)$below
}

name_dir() {
	real "$5"
	eval "rd$1=\$real"
	[ "$2" = 2 ] && printf '%s\n' "$real" >>names
	return 0
}

name_file() {
	eval "state=\$f$1; parent=\$rd$2"
	if [ "$state" = link ]; then
		readlink -f "$4" >>names
	elif [ "$state" != none ]; then
		printf '%s\n' "$parent/$3" >>names
	fi
}

name_mode() { readlink -f "$2" >>names; }

# compare_file F D BASE PATH QPATH WANT SUM QPAYLOAD QBASE
compare_file() {
	eval "state=\$f$1"
	if [ "$state" != new ]; then
		IFS= read -r have <&6
		next_sum
		if [ "$have_sum" = "$7" ]; then
			eval "c$1=0"
			if [ "$have" = "$6" ]; then
				eval "f$1=same"
				return
			fi
		fi
	fi
	changed=1
	report "changed $4"
	case $state in
	link) links=1 ;;
	old) eval "o$2=\"\$o$2 $5\"" ;;
	new) qnew="$qnew $5" ;;
	esac
	[ "$state" = link ] || eval "n$2=\"\$n$2 \$8\" m$2=\"\$m$2 \\\"\\\$new\\\"/\$9\""
}

compare_dir() {
	eval "state=\$d$1"
	case $state$2 in
	new*)
		changed=1
		report "changed $5"
		;;
	old2)
		IFS= read -r have <&6
		if [ "$have" != "$7" ]; then
			eval "d$1=other w$1=\$have"
			changed=1
			report "changed $5"
		fi
		;;
	esac
}

existing_dir() {
	eval "state=\$d$1"
	[ "$state$2" = old2 ] && qhave_dirs="$qhave_dirs $6"
	return 0
}

# compare_mode MODE PATH QPATH. How the mode comes back is written down with the
# rest of the undoing.
compare_mode() {
	case $qmodes in *" $3 "*) ;; *) return 0 ;; esac
	IFS= read -r have <&6
	[ "$have" != "$1" ] || return 0
	changed=1
	report "changed $2"
	qmoded="$qmoded $3 "
	printf '[ ! -f %s ] || [ "$(stat -c %%a %s)" = %s ] || chmod 0%s %s || failed=1\n' "$3" "$3" "$have" "$have" "$3" >>modes.undo
}

compare_remove() {
	eval "state=\$f$1"
	[ "$state" = none ] && return
	changed=1
	report "changed $4"
	eval "o$2=\"\$o$2 $5\" r$2=\"\$r$2 $5\""
}

# keep_copy D BASE COPY QCOPY F ORIGINAL QBASE
keep_copy() {
	eval "state=\$f$5 replaced=\$c$5 home=\$d$1"
	case $state in old | link) ;; *) return 0 ;; esac
	if [ "$replaced" = 0 ] || ! [ -f "$6" ] || [ -e "$3" ] || [ -L "$3" ]; then
		return 0
	fi
	changed=1
	report "changed $3"
	if [ "$home" = none ]; then
		below=$3
		all_dirs make_above
	fi
	qnew="$qnew $4"
	# Before what replaces the original.
	eval "k$1=1 m$1=\"\\\"\\\$new\\\"/\$7 \$m$1\""
}

# make_above has the missing directories above $below made.
make_above() {
	eval "state=\$d$1"
	[ "$state" = none ] || return 0
	case $below in
	"$5"/*)
		# The archive does not bring it.
		trees=0
		eval "d$1=new"
		report "changed $5"
		;;
	esac
}
