# trees.sh: functions of the worker that remove directories with all that is below
# them. They are renamed into the staging directories, whatever their size, so that
# a rename brings them back, and are deleted with those when all is done.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# find_tree PATH sets at to where that is, its parents' links resolved, base to the
# directory that it waits in meanwhile, and on to "at" where something is
# mounted on it, or to the first mount below. It fails where nothing is.
find_tree() {
	at=$(cd -P "${1%/*}/" 2>/dev/null && pwd -P) || return 1
	base=$at at=${at%/}/${1##*/} on=
	if ! [ -d "$at" ] || [ -L "$at" ]; then
		[ -L "$at" ] || [ -e "$at" ]
		return
	fi
	find_awk
	# As the kernel writes odd characters.
	on=$(AT=$at "$awk" '
		{
			mount = $5
			gsub(/\\040/, " ", mount); gsub(/\\011/, "\t", mount); gsub(/\\012/, "\n", mount); gsub(/\\134/, "\\", mount)
		}
		mount == ENVIRON["AT"] { itself = 1 }
		index(mount, ENVIRON["AT"] "/") == 1 { below = mount }
		END { print below ? below : itself ? "at" : "" }' /proc/self/mountinfo 2>err) || on=unknown
	[ "$on" != at ] || base=$at
}

# check_tree PATH
check_tree() {
	find_tree "$1" || return 0
	case $on in
	unknown) problem "$1" "what is mounted below it cannot be told: $(reason err)" ;;
	/*) problem "$1" "something is mounted on $on: unmount it, or keep what is there" ;;
	esac
	case $trees_found in *"$nl$at$nl"*) return 0 ;; esac
	trees_found=$trees_found$at$nl
	if [ "$on" = at ]; then
		filled=
		in_mount fills
		[ "$filled" ] || return 0
	fi
	changed=1
	report "changed $1"
}

# name_tree PATH refuses it where the file "names" has what lies in it.
name_tree() {
	find_tree "$1" || return 0
	while IFS= read -r line; do
		case $line in "$at" | "$at"/*) problem "$1" "$line, which is to change too, lies there through a symbolic link" ;; esac
	done <names
}

# in_mount FUNCTION calls it with each entry of directory $at.
in_mount() {
	for entry in "$at"/* "$at"/.[!.]* "$at"/..?*; do
		case $entry in */.k3s-cis-*) continue ;; esac
		if [ -e "$entry" ] || [ -L "$entry" ]; then
			"$1" "$entry"
		fi
	done
}

fills() { filled=1; }

stage_tree() {
	find_tree "$1" || return 0
	stage_at "$base" trees
}

undo_tree() {
	find_tree "$1" || return 0
	quote "${base%/}"
	printf 'back %s/.k3s-cis-%s/trees/old %s/\n' "$quoted" "$nonce" "$quoted"
}

take_tree() {
	find_tree "$1" || return 0
	aside=${base%/}/.k3s-cis-$nonce/trees/old/
	if [ "$on" = at ]; then
		shown=$1
		in_mount take_entry
	else
		try "$1" mv "$at" "$aside"
	fi
}

take_entry() { try "$shown" mv "$1" "$aside"; }
