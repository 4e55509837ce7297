# look.sh: functions of the worker that deal with the running kernel, collect
# what is on the machine and send it.
# shellcheck disable=SC2034,SC2154

# machine says whether this is a running machine, whose kernel is its own: the
# first process has the same root directory, which it has not in a chroot, and
# its process identifiers are those of the kernel itself (the number is the
# kernel's constant for its first namespace), which they are not in a container.
machine() {
	[ -n "${is_machine-}" ] || { find_machine && is_machine=yes; } || is_machine=no
	[ "$is_machine" = yes ]
}

find_machine() {
	[ -r /proc/sys/kernel/osrelease ] || return 1
	if [ -e /proc/1/root/. ]; then
		[ /proc/1/root/. -ef /. ] || return 1
	else
		# Not even root may always look there. In a chroot the list of mounts
		# is another one, too.
		mounts=$(cat /proc/1/mountinfo)
		[ -n "$mounts" ] && [ "$mounts" = "$(cat /proc/self/mountinfo)" ] || return 1
	fi
	space=
	IFS= read -r space <pid.namespace
	[ "$space" = 'pid:[4026531836]' ]
}

# kernel_plan finds out which parameters differ and how to set them back.
kernel_plan() {
	: >kernel.undo
	: >kernel.todo
	machine || return 0
	kernel_set kernel_compare
	[ "$problems" = 0 ] || quit ''
}

# Values are read with cat: dash's read takes one byte at a time, and the kernel
# gives a number's first byte only.
one_space() {
	set -f
	# shellcheck disable=SC2086
	set -- $1
	set +f
	spaced=$*
}

# kernel_compare NAME PATH VALUE
kernel_compare() {
	if ! [ -f "/proc/sys/$2" ]; then
		report "error kernel parameter $1 cannot be set: the running kernel has none of that name"
		problems=1
		return
	fi
	was=
	was=$(cat "/proc/sys/$2" 2>/dev/null)
	one_space "$was"
	was=$spaced
	one_space "$3"
	[ "$was" = "$spaced" ] && return
	changed=1
	printf '%s\n' "$1" >>kernel.todo
	quote "$was"
	printf "printf '%%s\\\\n' %s >'/proc/sys/%s' || failed=1\n" "$quoted" "$2" >>kernel.undo
}

kernel_change() {
	[ -s kernel.todo ] || return 0
	case $nl$(cat kernel.todo)$nl in *"$nl$1$nl"*) ;; *) return 0 ;; esac
	{ printf '%s\n' "$3" >"/proc/sys/$2"; } 2>err || quit "kernel parameter $1 cannot be set to $3: $(first_line err)"
	now=$(cat "/proc/sys/$2")
	one_space "$now"
	now=$spaced
	one_space "$3"
	[ "$now" = "$spaced" ] || quit "kernel parameter $1 is $now after it was set to $3"
	report "set $1"
}

# kernel_show NAME PATH
kernel_show() {
	[ -r "/proc/sys/$2" ] || return 0
	was=$(cat "/proc/sys/$2" 2>/dev/null) && report "kernel $1 $was"
	return 0
}

k3s_version() {
	IFS=:
	set -f
	# shellcheck disable=SC2086
	set -- $PATH /opt/bin
	set +f
	unset IFS
	for bin do
		bin=$bin/k3s
		if [ -f "$bin" ] && [ -x "$bin" ]; then
			slow=
			case $(timeout --help 2>&1) in *--kill-after*) slow='timeout 20' ;; esac
			# In the background, so that a signal need not wait for it, and
			# without the pipes that others wait for.
			$slow "$bin" --version </dev/null >version 2>/dev/null 3>&- 9>&- &
			children=$!
			wait "$children"
			children=
			report "k3s $(first_line version)"
			return
		fi
	done
}

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
#   s PATH/ and then a PATH/               directories that are one, of which the
#                                          second is listed
#   odd PATH/                              a directory with a name that has a
#                                          line break in it
#   unlisted WHY                           a directory that could not be read
look() {
	if machine; then
		report machine
		kernel_read kernel_show
	fi
	[ "$ask_k3s" = no ] || k3s_version
	qself='' qlinks='' gone=none there=none
	: >wanted
	walks clear_walk
	picks look_at
	[ -z "$qlinks" ] || eval "show_links $qlinks" >>report
	printf '%s\n' 'for f do printf "odd %s/\n" "${f%/*}"; done' >odd.sh
	printf '%s\n' '. ./lib.sh; . ./look.sh; show_links "$@"; exit 0' >links.sh
	printf '%s\n' 'stat -L -c "$@"; [ $? -lt 126 ] || echo "unlisted stat was killed/"; exit 0' >stat.sh
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
		quit "cannot look at what was asked for: $(first_line "$part.err")"
	fi
	while IFS= read -r line; do
		case $line in
		find:*) report "unlisted $line/" ;;
		esac
	done <"$part.err"
}

clear_walk() { eval "walk_$1_$2="; }

# look_at DEPTH CONTENT PATH QPATH. What lies directly below directories is found
# with one command, whatever of it is wanted.
look_at() {
	case $3 in "$gone"/*) return ;; esac
	if [ -e "$3" ]; then
		qself="$qself $4"
		[ -L "$3" ] && qlinks="$qlinks $4"
		[ "$2" = 0 ] || printf 'path %s/\n' "$3" >>wanted
		if [ "$1" != 0 ] && [ -d "$3" ]; then
			below=$4/ content=$2
			[ "$3" != / ] || below=/
			if [ "$1" = 1 ]; then
				content=x
				if [ "$2" = 1 ]; then
					printf 'below %s/\n' "${3%/}" >>wanted
				else
					twin=
					eval "find_twin \"\$3\" $walk_1_x"
					[ -z "$twin" ] || return 0
				fi
			fi
			eval "walk_$1_$content=\"\$walk_$1_$content \$below\""
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

# find_twin DIRECTORY WALKED… reports which of the directories that are walked
# already is this one under another name, as /lib is /usr/lib on most machines.
find_twin() {
	at=$1
	shift
	for twin do
		if [ "$twin" -ef "$at" ]; then
			printf 's %s/\na %s\n' "$at" "$twin" >>report
			return
		fi
	done
	twin=
}

# show_links PATH… prints where symbolic links lead. One readlink does where it
# takes several paths and no target has a line break in it.
show_links() {
	if [ $# -gt 1 ] && readlink "$@" >targets 2>/dev/null && [ "$(grep -c '' targets)" = $# ]; then
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

# What find does with all that it finds. Names that no line can hold are left to
# scripts. Busybox leaves out what follows a command that fails, as stat does on
# a link that leads nowhere. GNU find prints modes by itself.
find_any='-name ".k3s-cis-$nonce" -prune -o -name "*$nl*" -prune -exec sh ./odd.sh {} + \
	-o -exec sh ./stat.sh "e $content %f %u %g %s %n/" {} + -type l -exec sh ./links.sh {} +'
find_gnu='-name ".k3s-cis-$nonce" -prune -o -name "*$nl*" -prune -printf "odd %h/\n" \
	-o -type l -printf "y %Y %p/\n" -exec stat -L -c "e $content %f %u %g %s %n/" {} + \
		\( -lname "*$nl*" -exec sh ./links.sh {} + -o -printf "l %p/\nt %l/\n" \) \
	-o -printf "p $content %y %m %U %G %s %p/\n"'

# walk DEPTH CONTENT lists what is below the directories picked so.
walk() {
	eval "todo=\$walk_$1_$2"
	[ -n "$todo" ] || return 0
	depth='' content=$2
	[ "$1" = deep ] || depth="-maxdepth $1"
	# Links that lead nowhere, too, are a failure of find's.
	seek 126 "find $todo -mindepth 1 $depth $find"
}

# bound makes the answer of its parts and the list of files whose bytes are sent,
# each once, and stops where there is too much of anything. Where CONTENT is x,
# the file "wanted" tells: it has lines of "path PATH/" and "below PATH/". What the kernel makes up has no length to go by.
bound() {
	for awk in awk mawk gawk; do
		command -v "$awk" >/dev/null 2>&1 && break
	done
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
		END { print NR, count + 0 >"counts" }' report $parts 2>err || quit "cannot list what was collected: $(first_line err)"
	IFS=' ' read -r lines count <counts
	[ "$lines" ] || quit "cannot count what was collected"
	if [ "$lines" -gt $((max_entries * 4)) ]; then
		quit "cannot collect what was asked for: more than $max_entries entries"
	fi
}

# stream STATUS sends everything, or the report alone where that has got longer
# since, and removes the staging directories meanwhile.
stream() {
	text=answer
	if ! [ "$lines" ]; then
		text=report
		lines=$(grep -c '' report)
	fi
	send=plain
	command -v tar >/dev/null 2>&1 && send=archives && gnu tar && send=gnu_archive
	exec 7<"$text" 8<list 2>/dev/null
	cd / || exit 1
	eval "rm -rf $drop \"\$work\"" &
	removing=$!
	if [ -t 1 ]; then
		if command -v base64 >/dev/null 2>&1; then
			printf 'k3s-cis %s begin base64\n' "$nonce"
			answer "$1" | base64
		else
			printf 'k3s-cis %s begin hex\n' "$nonce"
			answer "$1" | od -An -v -tx1
		fi
		printf 'k3s-cis %s coded\n' "$nonce"
	else
		printf 'k3s-cis %s begin raw\n' "$nonce"
		answer "$1"
	fi
	# The second time is for a first one that was killed.
	wait "$removing" || eval "rm -rf $drop \"\$work\""
}

answer() {
	cat <&7
	if [ "$1" != ok ] || [ "$count" = 0 ]; then
		printf 'k3s-cis %s content none\n' "$nonce"
		code=0 count=0
	elif [ "$send" = plain ]; then
		printf 'k3s-cis %s content plain\n' "$nonce"
		plain <&8
		code=0
	else
		printf 'k3s-cis %s content tar\n' "$nonce"
		"$send" <&8
		code=$?
	fi
	printf 'k3s-cis %s end %s %s %s %s\n' "$nonce" "$lines" "$count" "$code" "$1"
}

# gnu_archive sends files with a tar that would take a backslash in a listed
# name for an escape.
gnu_archive() { tar -chf - -C / --no-unquote --hard-dereference -T - 2>/dev/null; }

# archives sends files with a tar that cannot read their names from a list, in
# one archive after another.
archives() {
	qnames='' some=0 worst=0
	while IFS= read -r line; do
		quote "$line"
		qnames="$qnames $quoted" some=$((some + 1))
		[ "$some" = 200 ] && archive_some
	done
	[ "$some" = 0 ] || archive_some
	return "$worst"
}

archive_some() {
	eval "tar -chf - -C / $qnames" </dev/null 2>/dev/null || worst=$?
	qnames='' some=0
}

# plain sends files where there is no tar: length and path, then the bytes.
plain() {
	while IFS= read -r line; do
		path=${line#.}
		printf 'f %s %s\n' "$(stat -L -c %s "$path")" "$path"
		cat "$path"
		printf '\n'
	done
}
