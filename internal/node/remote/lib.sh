# lib.sh: functions of the worker. Values named q… hold shell words that are
# quoted already and are only used through eval. The functions all_dirs,
# all_files, all_removes, all_keeps and assumed are in plan.sh.
# shellcheck disable=SC2034,SC2154

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

# problem notes what is in the way of path $1.
problem() {
	problems=1
	report "error cannot change $1: $2"
}

# try runs a command; on failure it ends the run, saying what about path $1.
try() {
	try_path=$1
	shift
	"$@" 2>err || quit_path "$try_path" "$(first_line err)"
}

quit_path() { quit "cannot change $1: $2"; }

# quit takes everything back and says why.
quit() {
	trap '' TERM INT
	# shellcheck disable=SC2086
	[ -z "$children" ] || kill $children 2>/dev/null
	[ -z "$*" ] || report "error $*"
	back_out
	stream failed
	exit 1
}

back_out() {
	if [ -f armed ] && ! [ -f settled ]; then
		sh ./undo >/dev/null 2>err || report "error not everything could be put back: $(first_line err)"
		true >settled
	elif [ -f clean ]; then
		tidy .
	fi
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

# recover undoes what an earlier run left that was killed together with its
# guard.
recover() {
	for base in /var/lib /run /etc ''; do
		for old in "$base"/.k3s-cis-*; do
			if ! [ -d "$old" ] || [ -L "$old" ] || ! [ -O "$old" ] || [ "$old" -ef "$work" ]; then
				continue
			fi
			wait_for "$old"
			[ -d "$old" ] || continue
			if [ -f "$old/armed" ] && ! [ -f "$old/settled" ]; then
				sh "$old/undo" 2>err || quit "an earlier run was cut off, and what it changed could not be put back: $(first_line err)"
				report recovered
			elif [ -f "$old/clean" ]; then
				tidy "$old"
			fi
			rm -rf "$old"
		done
	done
}

# wait_for gives the owner of staging directory $1, if it still runs, time to
# end.
wait_for() {
	[ -f "$1/pid" ] || return 0
	IFS= read -r pid <"$1/pid"
	turn=0
	while [ -d "$1" ] && [ "/proc/$pid/cwd" -ef "$1" ]; do
		turn=$((turn + 1))
		[ "$turn" -gt 30 ] && quit "another run is at work on this machine (process $pid)"
		sleep 1
	done
}

# Assumptions.

assumptions_hold() {
	holds=1
	qsum=
	assumed assume_there
	[ "$holds" = 1 ] || return 1
	if [ -n "$qsum" ]; then
		eval "sha256sum $qsum" >sums 2>err || quit "cannot tell whether the files are as they were planned for: $(first_line err)"
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
	all_removes name_file
	twice=$(sort names | uniq -d)
	[ -z "$twice" ] || problem "${twice%%"$nl"*}" "two paths of the change are the same one through a symbolic link"
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
	eval "k$1=1 m$1=\"\$m$1 \\\"\\\$new\\\"/\$7\""
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
