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
	[ "$(readlink /proc/self/ns/pid)" = 'pid:[4026531836]' ]
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
	for bin in "$(command -v k3s)" /usr/local/bin/k3s /opt/bin/k3s /usr/bin/k3s; do
		if [ -f "$bin" ] && [ -x "$bin" ]; then
			slow=
			case $(timeout --help 2>&1) in *--kill-after*) slow='timeout 20' ;; esac
			# In the background, so that a signal need not wait for it, and
			# without the pipes that others wait for.
			$slow "$bin" --version </dev/null >version 2>/dev/null 3>&- 9>&- &
			child=$!
			wait "$child"
			child=
			report "k3s $(first_line version)"
			return
		fi
	done
}

# look collects what was asked for into the file meta, in lines of
#   e CONTENT MODE USER GROUP SIZE PATH/   something that is there
#   l PATH/ and then t TARGET/             a symbolic link
#   d PATH/ and then l LINK/, t TARGET/    PATH lies behind a dead link
#   odd PATH/                              a directory with a name that has a
#                                          line break in it
#   unlisted WHY                           a directory that could not be read
look() {
	: >meta
	: >list
	if machine; then
		report machine
		kernel_read kernel_show
	fi
	[ "$ask_k3s" = no ] || k3s_version
	qself0='' qself1='' qlinks=''
	walks clear_walk
	picks look_at
	: >odd
	if [ -n "$qself0" ]; then eval "stat -L -c 'e 0 %f %u %g %s %n/' $qself0" >>meta 2>err || quit "cannot look at what was asked for: $(first_line err)"; fi
	if [ -n "$qself1" ]; then eval "stat -L -c 'e 1 %f %u %g %s %n/' $qself1" >>meta 2>err || quit "cannot look at what was asked for: $(first_line err)"; fi
	[ -z "$qlinks" ] || eval "show_links $qlinks" >>meta
	printf '%s\n' 'for f do printf "odd %s/\n" "${f%/*}"; done' >odd.sh
	printf '%s\n' '. ./lib.sh; . ./look.sh; show_links "$@"' >links.sh
	walks walk
	bound
}

clear_walk() { eval "walk_$1_$2="; }

# look_at DEPTH CONTENT PATH QPATH
look_at() {
	if [ -e "$3" ]; then
		eval "qself$2=\"\$qself$2 \$4\""
		[ -L "$3" ] && qlinks="$qlinks $4"
		if [ "$1" != 0 ] && [ -d "$3" ]; then
			eval "walk_$1_$2=\"\$walk_$1_$2 \$4/.\""
		fi
		return 0
	fi
	at=$3
	while [ "$at" ] && ! [ -e "$at" ]; do
		if [ -L "$at" ]; then
			[ "$at" = "$3" ] || printf 'd %s/\n' "$3" >>meta
			show_links "$at" >>meta
			return
		fi
		at=${at%/*}
	done
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
		to=$(readlink "$f")
		printf 'l %s/\nt %s/\n' "$f" "${to%%"$nl"*}"
	done
}

# walk DEPTH CONTENT lists what is below the directories picked so.
walk() {
	eval "todo=\$walk_$1_$2"
	[ -n "$todo" ] || return 0
	depth=
	[ "$1" = deep ] || depth="-maxdepth $1"
	eval "find $todo -mindepth 1 $depth" '-name ".k3s-cis-$nonce" -prune -o -name "*$nl*" -prune -exec sh ./odd.sh {} + -o -exec stat -L -c "e $2 %f %u %g %s %n/" {} + -type l -exec sh ./links.sh {} +' >>meta 2>walk.err
	while IFS= read -r line; do
		case $line in
		find:*) printf 'unlisted %s/\n' "$line" >>meta ;;
		esac
	done <walk.err
}

# bound makes the list of files whose bytes are sent, and stops where there is
# too much of anything.
bound() {
	lines=$(grep -c '' meta)
	[ "$lines" ] || quit "cannot count what was collected"
	if [ "$lines" -gt $((max_entries * 4)) ]; then
		: >meta
		: >list
		quit "cannot collect what was asked for: more than $max_entries entries"
	fi
	# The shell reads one byte at a time: it gets regular files only.
	grep '^e 1 8... ' meta | while IFS=' ' read -r what asked mode user group size path; do
		[ "$size" -le "$max_size" ] || continue
		while :; do
			case $path in
			*/./*) path=${path%%/./*}/${path#*/./} ;;
			*) break ;;
			esac
		done
		# What the kernel makes up has no length to go by.
		case ${path#/} in
		/proc/* | /sys/* | proc/* | sys/*) ;;
		*) printf '.%s\n' "${path%/}" ;;
		esac
	done | sort -u >list
	count=$(grep -c '' list)
}

# stream STATUS sends everything and removes the staging directory before the
# first byte is on its way.
stream() {
	cat meta >>report 2>/dev/null
	lines=$(grep -c '' report)
	exec 7<report 8<list 2>/dev/null
	: "${count=0}"
	cd / || exit 1
	rm -rf "$work"
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
}

answer() {
	cat <&7
	if [ "$1" != ok ] || [ "$count" = 0 ]; then
		printf 'k3s-cis %s content none\n' "$nonce"
		code=0 count=0
	elif command -v tar >/dev/null 2>&1; then
		printf 'k3s-cis %s content tar\n' "$nonce"
		# GNU tar would take a backslash in a listed name for an escape.
		case $(tar --version 2>/dev/null) in
		*GNU*) tar -chf - -C / --no-unquote --hard-dereference -T - <&8 2>/dev/null ;;
		*) archives <&8 ;;
		esac
		code=$?
	else
		printf 'k3s-cis %s content plain\n' "$nonce"
		plain <&8
		code=0
	fi
	printf 'k3s-cis %s end %s %s %s %s\n' "$nonce" "$lines" "$count" "$code" "$1"
}

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
