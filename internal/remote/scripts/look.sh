# look.sh: functions of the worker that collect what is on the machine.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# gnu says whether tool $1 is GNU's, which does more at once. What the tool said
# of itself was asked for while the request was still on its way.
gnu() {
	line=
	IFS= read -r line <"$1.version"
	case $line in *GNU*) return 0 ;; *) return 1 ;; esac
}

# look collects what was asked for into the answer, in lines of
#   e CONTENT MODE USER GROUP SIZE PATH/   something that is there; the mode is
#                                          the kernel's, in hexadecimal
#   p CONTENT KIND MODE USER GROUP SIZE PATH/
#                                          the same as find prints it: a letter
#                                          and the permissions, in octal
#   l PATH/ and then t TARGET/             a symbolic link
#   y KIND PATH/                           what find saw behind that link, so
#                                          that nothing can be missing
#   d PATH/ and then l LINK/, t TARGET/    PATH lies behind a dead link
#   s PATH/ and then a DEPTH CONTENT PATH/ directories that are one and picked
#                                          alike, of which the second is listed
#   odd PATH/                              a directory with a name that has a
#                                          line break in it
#   unlisted WHY                           a directory that could not be read
#   mount PATH/                            where something is mounted, as the
#                                          kernel writes it
look() {
	if machine; then
		report machine
		kernel_read kernel_show
		mount_points >>report
	fi
	[ "$ask_k3s" = no ] || k3s_version
	qself='' qlinks='' gone=none there=none
	: >wanted
	walks clear_walk
	picks look_at
	[ -z "$qlinks" ] || eval "show_links $qlinks" >>report
	printf '%s\n' 'for f do printf "odd %s/\n" "${f%/*}"; done' >odd.sh
	printf '%s\n' '. ./functions.sh; show_links "$@"; exit 0' >links.sh
	printf '%s\n' 'stat -L -c "$@"; [ $? -lt 126 ] || echo "unlisted stat was killed/"; exit 0' >stat.sh
	lasting
	find=$find_any
	gnu find && find=$find_gnu
	parts='' seekers=''
	[ -z "$qself" ] || seek 1 "stat -L -c 'e x %f %u %g %s %n/' $qself"
	walks walk
	confirmed
	for seeker in $seekers; do
		found "$seeker"
	done
	children=
	bound
}

# seek runs a command beside the others. What it prints becomes a part of the
# answer; an exit status of $1 or more means that something is missing in it.
seek() {
	part=part.$((${#parts} + 1))
	(eval "exec $2") >"$part" 2>"$part.err" &
	parts="$parts $part" children="$children $!" seekers="$seekers $!:$1:$part"
}

# found PID:STATUS:PART waits for a command that seek has started.
found() {
	part=${1##*:} status=0
	wait "${1%%:*}" || status=$?
	worst=${1#*:}
	if [ "$status" -ge "${worst%%:*}" ]; then
		quit "cannot look at what was asked for: $(reason "$part.err")"
	fi
	while IFS= read -r line; do
		case $line in
		find:*) report "unlisted $line/" ;;
		esac
	done <"$part.err"
}

clear_walk() { eval "walk_$1_$2= same_$1_0= same_$1_1="; }

# look_at DEPTH CONTENT PATH QPATH. What lies directly below directories is found
# with one command, whatever of it is wanted.
look_at() {
	case $3 in "$gone"/*) return ;; esac
	if [ -e "$3" ]; then
		qself="$qself $4"
		[ -L "$3" ] && qlinks="$qlinks $4"
		[ "$2" = 0 ] || printf 'path %s/\n' "$3" >>wanted
		if [ "$1" != 0 ] && [ -d "$3" ]; then
			below=$4/ content=$2 twin=
			[ "$3" != / ] || below=/
			eval "same=\$same_$1_$2"
			eval "find_twin $1 $2 \"\$3\" $same"
			[ -z "$twin" ] || return 0
			if [ "$1" = 1 ]; then
				content=x
				[ "$2" = 0 ] || printf 'below %s/\n' "${3%/}" >>wanted
			fi
			eval "same_$1_$2=\"\$same \$below\" walk_$1_$content=\"\$walk_$1_$content \$below\""
		fi
		return 0
	fi
	at=$3
	while :; do
		if [ -L "$at" ]; then
			[ "$at" = "$3" ] || printf 'd %s/\n' "$3" >>report
			show_links "$at" >>report
			# Each path below a dead link is reported.
			gone=none
			return
		fi
		# Nothing that is asked for next can be below what is not there.
		gone=$at
		at=${at%/*}
		case $at in '' | "$there") return ;; esac
		[ -e "$at" ] && there=$at && return
	done
}

# find_twin DEPTH CONTENT DIRECTORY WALKED… reports which of the directories that
# are walked already, picked alike, is this one under another name, as /lib is
# /usr/lib on most machines.
find_twin() {
	as="$1 $2" at=$3
	shift 3
	for twin do
		if [ "$twin" -ef "$at" ]; then
			printf 's %s/\na %s %s\n' "$at" "$as" "$twin" >>report
			return
		fi
	done
	twin=
}

# has_lines says whether the file $1, which is short, has $2 lines.
has_lines() {
	counted=0
	while IFS= read -r line; do counted=$((counted + 1)); done <"$1"
	[ "$counted" = "$2" ]
}

# show_links PATH… prints where symbolic links lead. One readlink does where it
# takes several paths and no target has a line break in it.
show_links() {
	if [ $# -gt 1 ] && readlink "$@" >targets 2>/dev/null && has_lines targets $#; then
		exec 9<targets
		for f do
			IFS= read -r to <&9
			printf 'l %s/\nt %s/\n' "$f" "$to"
		done
		exec 9<&-
		return
	fi
	for f do
		if to=$(readlink "$f"); then
			printf 'l %s/\nt %s/\n' "$f" "${to%%"$nl"*}"
		else
			printf 'unlisted where %s leads/\n' "$f"
		fi
	done
}

# What find does with all that it finds. What this run and those that wait for it
# have staged is no part of the machine. Names that no line can hold are left to
# scripts. Busybox leaves out what follows a command that fails, as stat does on
# a link that leads nowhere. GNU find prints modes by itself.
find_any='-name ".k3s-cis-*" -prune -o -name "*$nl*" -prune -exec sh ./odd.sh {} + \
	-o -exec sh ./stat.sh "e $content %f %u %g %s %n/" {} + -type l -exec sh ./links.sh {} +'
find_gnu='-name ".k3s-cis-*" -prune -o -name "*$nl*" -prune -printf "odd %h/\n" \
	-o -type l -printf "y %Y %p/\n" -exec stat -L -c "e $content %f %u %g %s %n/" {} + \
		\( -lname "*$nl*" -exec sh ./links.sh {} + -o -printf "l %p/\nt %l/\n" \) \
	-o -printf "p $content %y %m %U %G %s %p/\n"'

# walk DEPTH CONTENT lists what is below the directories picked so.
walk() {
	eval "todo=\$walk_$1_$2"
	[ -n "$todo" ] || return 0
	depth="-maxdepth $1" content=$2
	[ "$1" != deep ] || depth="-maxdepth $max_depth"
	# Links that lead nowhere, too, are a failure of find's.
	seek 126 "find $todo -mindepth 1 $depth $find"
}

# bound makes the answer of its parts and the list of files whose bytes are sent,
# each once, and stops where there is too much of anything. Where CONTENT is x,
# the file "wanted" tells: it has lines of "path PATH/" and "below PATH/". What the kernel makes up has no length to go by.
bound() {
	find_awk
	"$awk" -v max="$max_size" '
		BEGIN { while ((getline line <"wanted") > 0) wanted[line] }
		function path(fields, rest) {
			for (rest = $0; fields; fields--) sub(/^[^ ]* /, "", rest)
			return rest
		}
		function above(at) {
			sub(/[^\/]*\/$/, "", at)
			return at
		}
		function list(at) {
			at = substr(at, 1, length(at) - 1)
			if (at !~ /^\/*(proc|sys)\// && !(at in listed)) {
				listed[at]
				print "." at >"list"
				count++
			}
		}
		/^[ep] x / {
			at = path($1 == "e" ? 6 : 7)
			asked = ("path " at) in wanted || ("below " above(at)) in wanted
			$0 = substr($0, 1, 2) (asked ? 1 : 0) substr($0, 4)
		}
		{ print >"answer" }
		/^e 1 8... / && $6 + 0 <= max { list(path(6)) }
		/^p 1 f / && $7 + 0 <= max { list(path(7)) }
		END { print NR, count + 0 >"counts" }' report $parts 2>err || quit "cannot list what was collected: $(reason err)"
	IFS=' ' read -r lines count <counts
	[ "$lines" ] || quit "cannot count what was collected: $(reason err)"
	if [ "$lines" -gt $((max_entries * 4)) ]; then
		quit "cannot collect what was asked for: more than $max_entries entries"
	fi
}
