# machine.sh: functions of the worker that deal with what runs on the machine: its
# kernel, and K3s's own binary.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

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

# lasting refuses what lies where no image gets it from: in memory or on another
# machine. A directory of the change may lie on something mounted, if that is
# mounted again after a boot. In a container others see to that.
lasting() {
	machine || return 0
	qthere=
	all_dirs there
	eval "stat -f -L -c '%t %n' / $qself $qhave $qthere" >kinds 2>/dev/null
	root_kind=
	while IFS=' ' read -r kind at; do
		: "${root_kind:=$kind}"
		[ "$kind" != "$root_kind" ] || continue
		case $kind in
		1021994 | 858458f6) lost "$at" "in memory" ;;
		6969 | ff534d42 | fe534d42 | 517b | 1021997 | 65735546 | 786f4256 | c36400 | 5346414f) lost "$at" "of another machine, or of one program" ;;
		esac
	done <kinds
	mounts=0
	[ ! -f mounts ] || IFS= read -r mounts <mounts
	[ "$mounts" = 0 ] || all_dirs comes_back
}

there() {
	[ "$2" = 0 ] || ! [ -d "$5" ] || qthere="$qthere $6"
}

# lost PATH WHERE
lost() {
	at=$(readlink -f "$1")
	case $at/ in /proc/* | /sys/* | /dev/* | /run/* | /tmp/*) return 0 ;; esac
	on=$(df -P "$at" 2>/dev/null | while read -r _ _ _ _ _ on; do :; printf '%s\n' "$on"; done)
	on=${on##*"$nl"}
	quit "${on:-$at} is a file system $2, so that the image gets nothing of what is there, and $1 cannot be hardened or judged: unmount it for the build"
}

# comes_back D NEED MODE OWNER PATH
comes_back() {
	[ "$2" != 0 ] && [ "$5" != / ] || return 0
	# Of file systems mounted over each other the last one counts.
	kind=$(awk -v at="$5" '
		$5 == at { for (i = 7; i < NF && $i != "-"; i++); kind = $(i + 1) }
		END { print kind }' /proc/self/mountinfo)
	case $kind in '' | zfs) return 0 ;; esac
	awk -v at="$5" '
		{ sub(/\/$/, "", $2) }
		$1 !~ /^#/ && $2 == at { found = 1 }
		END { exit !found }' /etc/fstab 2>/dev/null && return
	unit=$(systemd-escape -p --suffix=mount "$5" 2>/dev/null)
	for at in /etc/systemd/system /run/systemd/generator /run/systemd/generator.early /run/systemd/generator.late \
		/usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
		[ -n "$unit" ] && [ -e "$at/$unit" ] && return
	done
	quit "something is mounted on $5 that neither /etc/fstab nor a mount unit mounts again after a boot, so that the image gets nothing of what is there: add it to /etc/fstab, or unmount it for the build"
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

mount_points() {
	awk '$5 !~ /^\/(proc|sys|dev|run)(\/|$)/ { print "mount " $5 "/" }' /proc/self/mountinfo 2>/dev/null || :
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
