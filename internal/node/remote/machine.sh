# machine.sh: functions of the worker that deal with what runs on the machine: its
# kernel, and K3s's own binary.
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
