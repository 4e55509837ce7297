# rehearse.sh: starts the node's K3s once on the machine, in namespaces that end
# with their first process, and prints the transcript, a line for each thing seen.
# Its standard input ends when everything has to.
#
# Run without an argument it looks at what the machine lacks and makes the
# namespaces; with "inside" it has a cgroup namespace already; with "first" it is the
# first process of all of them.
#
# request.sh, which is generated, has these variables:
#   program        K3s's program
#   directory      where it is started
#   timeout        how long it may take to be up and to answer, in seconds
#   settle         how long one ask is repeated, in seconds
#   scratch        how much memory the files may take, in bytes
#   memory         how much memory must be available, in KiB
#   address        the address of the machine in its namespace
#   host_name      its name there
#   agent          yes where the agent's components start too
#   made_by_kernel the types of file systems that hold nothing of the machine's disk
#   kept           the capabilities that K3s keeps, as setpriv has them
#   database       the directory of the datastore
#   database_key   under what name it keeps the Secret
#   marker         begins what is encrypted there
#   server_directory the directory of the server that an agent joins, or nothing
#   server_up      what that logs when it has started
# and these functions, of which the all_… call the function named by "$1" for each:
#   environment    exports the variables of K3s and of the asks
#   k3s            runs the words of K3s behind its arguments
#   is_up          says whether log $1 has what K3s logs when it has started
#   server         runs the words of that server behind its arguments
#   server_files   NAME CONTENT of what it finds in its directory
#   all_asks       NUMBER NAME ONCE
#   words_N        runs the words of ask N behind its arguments
#   input_N        prints what ask N gets on its standard input
#   awaited_N      says whether $said is the answer that ask N waits for
#   all_over       DIRECTORY that has to be a file system of its own
#   all_files      DEPTH CONTENT PATH to be looked at afterwards
#   all_traces     DIRECTORY in which nothing may be left
#   in_clear       says whether file $1 holds the Secret's value
#
# Only what POSIX, dash, bash and busybox have in common is used here.
# shellcheck shell=sh disable=SC1091,SC2015,SC2046,SC2059,SC2086,SC2154,SC3013
set -u
nl='
'
own=/dev/.rehearsal # notes of the first process, on a file system of their own
cgroup=k3s-cis-rehearsal-

. ./request.sh
id=$$

# refused ends the rehearsal for what the machine would not do, failed for what K3s's
# program is.
refused() {
	printf 'refused %s\n' "$(printf '%s' "$*" | tr '\n' ' ')"
	exit 1
}

failed() {
	printf 'failed %s\n' "$(printf '%s' "$*" | tr '\n' ' ')"
	exit 1
}

# try runs a command without which there is no rehearsal. $1 says what it does.
try() {
	doing=$1
	shift
	tried=$("$@" 2>&1) || refused "$doing: $tried"
}

# try_agent runs a command without which the agent cannot be rehearsed.
try_agent() {
	doing=$1
	shift
	tried=$("$@" 2>&1) && return
	printf 'agent %s\n' "$(printf '%s' "cgroups that can be mounted in a namespace: $doing: $tried" | tr '\n' ' ')"
	exit 1
}

# Before anything is made.

# lacks prints what the machine has not.
lacks() {
	for tool in unshare mount umount pivot_root ip mknod mkfifo stat find grep sed sort uniq tr cut head tail; do
		command -v "$tool" >/dev/null 2>&1 || missing="${missing-}${missing:+, }$tool"
	done
	[ -z "${missing-}" ] || echo "the tools $missing on the machine (packages util-linux, iproute2, coreutils, findutils and grep, or busybox)"
	lacks_memory
	lacks_architecture
	command -v unshare >/dev/null 2>&1 && lacks_namespaces
}

lacks_memory() {
	while read -r name value _; do
		if [ "$name" = MemAvailable: ] && [ "$value" -lt "$memory" ]; then
			echo "memory: $((value / 1024)) MiB are available, and K3s takes $((memory / 1024)) MiB"
		fi
	done </proc/meminfo
}

# lacks_architecture looks at the byte of an ELF file that names its machine.
lacks_architecture() {
	[ "$(head -c 4 "$program" 2>/dev/null)" = "$(printf '\177ELF')" ] || return 0
	machine=$(head -c 19 "$program" | tail -c 1)
	host=$(uname -m)
	case $host in
	x86_64) runs='\076 \003' ;;
	aarch64) runs='\267 \050' ;;
	armv*) runs='\050' ;;
	s390x) runs='\026' ;;
	riscv64) runs='\363' ;;
	*) return 0 ;;
	esac
	for byte in $runs; do
		[ "$machine" = "$(printf "$byte")" ] && return
	done
	echo "a machine of the image's architecture: $program is for another than this machine, which is $host"
}

lacks_namespaces() {
	if ! said=$(unshare -m -u -i -n -p -f true 2>&1); then
		case $said in
		*'not permitted'* | *'ermission denied'*) echo "the right to make namespaces (CAP_SYS_ADMIN): root has it, in an ordinary container it does not" ;;
		*'o space left'*) echo "one namespace more: the limits in /proc/sys/user are reached" ;;
		*) echo "a kernel and an unshare with mount, network, process, host name and IPC namespaces: $said" ;;
		esac
		return
	fi
	if ! grep -qw overlay /proc/filesystems && ! modprobe overlay 2>/dev/null; then
		echo "a kernel with the overlay file system (modprobe overlay)"
	fi
}

# agent_lacks prints what the machine has not for the agent alone.
agent_lacks() {
	command -v unshare >/dev/null 2>&1 || return 0
	if ! unshare -C true 2>/dev/null; then
		echo "an unshare and a kernel with cgroup namespaces (util-linux 2.30, Linux 4.6)"
	fi
	for name in cpu cpuset memory pids; do
		controls=''
		controller=$name
		cgroup_mounts find_controller
		[ -n "$controls" ] || echo "the cgroup controller $name for what is made below the root of its hierarchy"
	done
}

# find_controller notes where a cgroup that is made in the hierarchy at $1 has
# $controller: in that of the first version where it is mounted with it.
find_controller() {
	case " $(cat "$1/cgroup.subtree_control" 2>/dev/null) " in *" $controller "*) controls=$1 ;; esac
	[ -e "$1/cgroup.controllers" ] || case ,$options, in *",$controller,"*) controls=$1 ;; esac
}

# The machine's cgroups: the agent makes some, below one that is ours.

# cgroup_mounts calls $1 for each place where a hierarchy is mounted, with $options.
cgroup_mounts() {
	while read -r _ _ _ _ at rest; do
		options=${rest##* }
		case ${rest#* - } in
		'cgroup '* | 'cgroup2 '*) "$1" "$at" ;;
		esac
	done </proc/self/mountinfo
}

enter_cgroup() {
	mkdir "$1/$cgroup$id" 2>/dev/null || return 0
	for name in cpuset.cpus cpuset.mems; do
		[ ! -e "$1/$name" ] || [ -e "$1/cgroup.controllers" ] || cat "$1/$name" >"$1/$cgroup$id/$name"
	done 2>/dev/null
	echo 0 >"$1/$cgroup$id/cgroup.procs"
} 2>/dev/null

# enter_leaf leaves the root of the cgroup namespace, which shares nothing out as
# long as processes are in it.
enter_leaf() {
	[ -e "$1/cgroup.controllers" ] || return 0
	mkdir "$1/$cgroup$id/start" && echo 0 >"$1/$cgroup$id/start/cgroup.procs"
} 2>/dev/null

# sweep_cgroups removes what is empty of this rehearsal and of earlier ones.
sweep_cgroups() {
	for old in "$1/$cgroup"*; do
		for once in 1 2 3 4 5; do
			[ -d "$old" ] || break
			[ "$once" = 1 ] || sleep "$pause"
			find "$old" -depth -type d -exec rmdir {} \; 2>/dev/null
			[ -z "$(cat "$old/cgroup.procs" 2>/dev/null)" ] || break
		done
	done
}

# The traces.

remember() {
	all_traces remember_below
}

remember_below() {
	[ -e "$1" ] || return 0
	find "$1" -exec stat -c '%f %u %g %s %Y %n' {} +
}

# outside is the process that stays on the machine.
outside() {
	export LIBMOUNT_UTAB="$PWD/utab" # mount makes the directory of its own on the machine
	sleep 0.1 2>/dev/null && pause=0.1 || pause=1
	lacks >lacks.list
	[ "$agent" = no ] || agent_lacks >agent.list
	if [ -s lacks.list ] || [ -s agent.list ]; then
		sed 's/^/lacks /' lacks.list
		[ "$agent" = no ] || sed 's/^/agent /' agent.list
		return
	fi
	cgroup_mounts sweep_cgroups
	remember >before
	if [ "$agent" = yes ]; then
		(
			cgroup_mounts enter_cgroup
			exec unshare -C sh ./program.sh inside $$
		)
	else
		(inside)
	fi
	status=$?
	cgroup_mounts sweep_cgroups
	remember >after
	sort before after | uniq -u | cut -d ' ' -f 6- | sort -u | sed 's/^/trace /'
	if [ "$status" = 0 ]; then
		echo end
	fi
}

# inside makes the other namespaces. What does not end by itself with unshare does
# so with the standard input.
inside() {
	[ "$agent" = no ] || cgroup_mounts enter_leaf
	also=''
	unshare --help 2>&1 | grep -q -e --kill-child && also=--kill-child
	[ "$agent" = yes ] || ! unshare -C true 2>/dev/null || also="$also -C"
	exec unshare -m -u -i -n -p -f $also sh ./program.sh first "$pause"
}

# The stage.

# first is the first process of the namespaces: with it everything ends.
first() {
	exec 3<&0 </dev/null
	trap 'exit 1' TERM
	umask 022 # a service's
	lay
	(
		cat <&3 >/dev/null
		kill -TERM 1
	) >/dev/null 2>&1 &
	exec 3<&-
	perform &
	wait $!
}

# lay makes the machine's own root, below a scratch, the root of the namespaces.
lay() {
	try 'keeping mounts inside' mount --make-rprivate /
	mkdir stage
	cat /proc/self/mountinfo >mounts
	try 'a scratch in memory' mount -t tmpfs -o "mode=0700,size=$scratch" scratch stage
	cd stage || exit 1
	stage=$PWD layers=0
	mkdir root
	lay_layer /
	left_out=''
	while read -r _ _ _ _ at rest; do
		kind=${rest#* - }
		if [ "$at" = / ]; then
			continue
		elif is_left_out "${kind%% *}" "$at"; then
			left_out="$left_out $at"
			continue
		fi
		at=$(printf '%b' "$(printf '%s' "$at" | sed 's/\\/\\0/g')")
		! [ -d "$at" ] || lay_layer "$at"
	done <../mounts
	try 'leaving the root of the machine' enter_root
	cd / || exit 1
	furnish
	try 'letting the root of the machine go' umount -l /.rehearsal
	try 'the device lo' ip link set lo up
	try 'the address' ip addr add "$address/32" dev lo
	try 'the default route' ip route add default dev lo src "$address"
}

# is_left_out TYPE PATH says whether what is mounted at PATH holds nothing of the
# machine's disk, or is mounted in something that does not.
is_left_out() {
	case " $made_by_kernel " in *" $1 "*) return 0 ;; esac
	for out in $left_out; do
		case $2 in "$out"/*) return 0 ;; esac
	done
	return 1
}

enter_root() {
	mkdir root/.rehearsal && cd root && pivot_root . .rehearsal
}

# lay_layer lays what is mounted at $1 below the scratch.
lay_layer() {
	layers=$((layers + 1))
	mkdir "lower$layers" "upper$layers" "work$layers"
	try "$1" mount --bind "$1" "lower$layers"
	# The root of what lies above is the root of all.
	try "$1" chmod "$(stat -c %a "lower$layers")" "upper$layers"
	try "$1" chown "$(stat -c %u:%g "lower$layers")" "upper$layers"
	mount -t overlay -o "nodev,lowerdir=$stage/lower$layers,upperdir=$stage/upper$layers,workdir=$stage/work$layers" overlay "root${1%/}" 2>mount.errors && return
	# Such as the firmware's, where a start writes nothing.
	written='' layer=$1
	all_traces near_layer
	[ "$1" != / ] && [ -z "$written" ] || refused "laying $1 below a scratch: $(cat mount.errors)"
	try "$1" mount --bind "lower$layers" "root$1"
	try "$1" mount -o remount,bind,ro "root$1"
}

# near_layer notes where K3s writes in $1, which lies at, above or below $layer.
near_layer() {
	case $1/ in "$layer"/*) written=yes ;; esac
	case $layer/ in "$1"/*) written=yes ;; esac
}

# furnish gives the stage what K3s expects of a running system. It is done where no
# link leads out.
furnish() {
	mkdir -p /proc /sys /dev
	try /proc mount -t proc -o nosuid,nodev,noexec proc /proc
	printf '%s' "$host_name" >/proc/sys/kernel/hostname || refused 'the host name'
	# What changes the machine in a /proc that is otherwise the namespaces'.
	for name in sys sysrq-trigger acpi bus fs irq mtrr scsi; do
		[ -e "/proc/$name" ] || continue
		try "/proc/$name" mount --bind "/proc/$name" "/proc/$name"
		[ "$name" != sys ] || try /proc/sys/net mount --bind /proc/sys/net /proc/sys/net
		try "/proc/$name" mount -o remount,bind,ro "/proc/$name"
	done
	try /sys mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys
	furnish_devices
	[ "$agent" = no ] || furnish_cgroups
	furnish_own /tmp 1777
	all_over furnish_own
	limit_capabilities
}

# limit_capabilities finds what takes capabilities away: util-linux's setpriv, which
# busybox's is not, and which is tried, since it may not be let. Without it K3s has all
# of root's, which is said, and at least no module that modprobe could load.
limit_capabilities() {
	capabilities="$(command -v setpriv) --bounding-set=$kept --inh-caps=-all"
	$capabilities true 2>/dev/null && return
	capabilities=''
	hidden=''
	for name in /lib/modules /usr/lib/modules; do
		if [ -d "$name" ]; then
			try "$name" mount -t tmpfs -o ro,nosuid,nodev,noexec,mode=0755,size=64k tmpfs "$name"
			hidden=', and its modules were hidden from it'
		fi
	done
	echo "warning the first start was rehearsed with all capabilities of root within its namespaces, since nothing on the machine takes them away (util-linux's setpriv does, busybox's does not): K3s could have changed what no namespace holds, such as the machine's clock$hidden"
}

furnish_own() {
	try "$1" mkdir -p "$1"
	try "$1" mount -t tmpfs -o "nosuid,nodev,size=512m,mode=${2-0755}" tmpfs "$1"
}

# furnish_devices makes a small /dev, without the machine's disks.
furnish_devices() {
	try /dev mount -t tmpfs -o nosuid,noexec,mode=0755,size=16m tmpfs /dev
	umask 0
	mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/zero c 1 5 && mknod -m 666 /dev/full c 1 7 &&
		mknod -m 666 /dev/random c 1 8 && mknod -m 666 /dev/urandom c 1 9 && mknod -m 666 /dev/tty c 5 0 || refused 'the devices'
	# The kubelet reads there of processes that were killed for want of memory.
	[ "$agent" = no ] || mknod -m 644 /dev/kmsg c 1 11
	umask 022
	ln -s /proc/self/fd /dev/fd
	ln -s /proc/self/fd/0 /dev/stdin
	ln -s /proc/self/fd/1 /dev/stdout
	ln -s /proc/self/fd/2 /dev/stderr
	mkdir -m 1777 /dev/shm "$own"
	try /dev/shm mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=64m tmpfs /dev/shm
	try "$own" mount -t tmpfs -o nosuid,nodev,noexec,mode=0700,size=96m tmpfs "$own"
}

# furnish_cgroups mounts the namespace's own hierarchies where the machine has its.
furnish_cgroups() {
	v1=''
	while read -r _ _ _ _ at rest; do
		kind=${rest#* - } options=${rest##* }
		case $at in /.rehearsal/*) ;; *) continue ;; esac
		case $kind in
		'cgroup2 '*) [ "$at" != "/.rehearsal/sys/fs/cgroup" ] || try_agent /sys/fs/cgroup mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
		'cgroup '*)
			if [ -z "$v1" ]; then
				v1=yes
				try_agent /sys/fs/cgroup mount -t tmpfs -o mode=0755,size=1m tmpfs /sys/fs/cgroup
			fi
			mkdir -p "${at#/.rehearsal}"
			try_agent "${at#/.rehearsal}" mount -t cgroup -o "${options#rw,}" cgroup "${at#/.rehearsal}"
			;;
		esac
	done </proc/self/mountinfo
}

# The performance.

# tick sets now to the time that the machine runs, in hundredths of a second.
tick() {
	IFS=' .' read -r whole part _ </proc/uptime
	now=$((whole * 100 + 1$part - 100))
}

since() {
	tick
	printf '%d.%02d' $(((now - began) / 100)) $(((now - began) % 100))
}

dead() { [ -s "$own/ended" ]; }

perform() {
	cd "$own" || exit 1
	[ -x "$program" ] || failed "$program cannot be started: it is not there, or not executable"
	tick
	over=$((now + timeout * 100))
	[ -z "$server_directory" ] || serve
	tick
	began=$now
	{
		(
			cd "$directory" || exit 1
			environment
			k3s $capabilities
		) >log 2>&1
		echo $? >ended.new
		mv ended.new ended
	} &
	wait_up
	printf '%s %s\n' "$state" "$(since)"
	if [ "$state" = up ]; then
		all_asks ask
		search
	fi
	if dead; then
		read -r status <ended
		[ "$status" -le 128 ] || echo "exited signal $((status - 128))"
		[ "$status" -gt 128 ] || echo "exited status $status"
	fi
	look
	head -n 10000 log | head -c 8388608 | one_line | sed '/^$/d; s/^/log /'
	case "$(stat -f -c ' %a %d' /) " in *' 0 '*) echo full ;; esac
}

# serve starts the server that an agent joins, and returns when it is up. Where that
# fails it is not the agent that did.
serve() {
	try "$server_directory" mkdir -m 700 "$server_directory"
	server_files server_file
	{
		(
			cd /
			server $capabilities
		) >server.log 2>&1
		echo $? >server.ended
	} &
	while ! grep -qF -e "$server_up" server.log; do
		tick
		if [ -s server.ended ] || [ "$now" -ge "$over" ]; then
			last=$(grep -e level=fatal server.log | tail -n 1)
			refused "a server of the rehearsal's own, which the agent would join, did not start: ${last:-$(tail -n 1 server.log)}"
		fi
		sleep "$pause"
	done
}

server_file() { printf %s "$2" >"$server_directory/$1" || refused "$server_directory/$1"; }

wait_up() {
	while :; do
		state=alive
		dead || state=''
		is_up log && state=up
		tick
		[ -n "$state" ] || [ "$now" -lt "$over" ] || state=late
		[ -z "$state" ] || return
		sleep "$pause"
	done
}

# one_line makes lines of a transcript of output.
one_line() { tr -d '\000\r' | cut -b 1-59000; }

# ask NUMBER NAME ONCE puts an ask until it has an answer that is one, or the time
# is over. Then the last whole answer counts: that the next one did not come takes
# nothing of it back.
ask() {
	tick
	until=$((now + settle * 100))
	[ "$until" -lt "$over" ] || until=$over
	given='' found=''
	while tick && [ "$now" -lt "$until" ]; do
		within $(((until - now + 99) / 100)) "$1" || break
		given=$status
		mv answer given
		said=$(head -c 1048576 given | tr -d '\000')
		if [ "$3" = yes ] || "awaited_$1"; then
			found=' found'
			break
		fi
		dead && break
		sleep "$pause"
	done
	[ -n "$given" ] || return 0
	echo "answer $2 $given$found"
	head -c 1048576 given | one_line | sed "s|^|said $2 |"
}

# within SECONDS NUMBER runs an ask as long as that, and fails where it took longer.
within() {
	rm -f slow
	"input_$2" >input
	(
		cd /
		environment
		"words_$2" $capabilities <"$own/input"
	) >answer 2>&1 &
	asked=$!
	(
		sleep "$1"
		true >slow
		kill -KILL "$asked"
	) >/dev/null 2>&1 &
	alarm=$!
	wait "$asked"
	status=$?
	kill "$alarm" 2>/dev/null
	! [ -e slow ]
} 2>/dev/null

# search looks for the Secret in the files of the datastore. What is not searched is
# not said to be.
search() {
	find "$database" -type f >datastore || return 0
	there='' clear=''
	: >providers
	while IFS= read -r file; do
		tr '\000' '\n' <"$file" >page || return 0
		grep -qF -e "$database_key" page && there=yes
		in_clear page && clear=yes
		grep -o -e "${marker}[a-z0-9_-]*:" page >>providers
	done <datastore
	rm -f page
	[ -z "$there" ] || echo key
	[ -z "$clear" ] || echo clear
	sort -u providers | sed "s/^$marker/provider /; s/:\$//"
	echo stored
}

# look prints modes and owners of the files that were asked for, all or none.
look() {
	: >entries
	unseen=''
	all_files look_at
	if [ -z "$unseen" ]; then
		cat entries
		echo looked
	fi
}

# look_at DEPTH CONTENT PATH
look_at() {
	[ -e "$3" ] || [ -L "$3" ] || return 0
	[ "$1" = deep ] && set -- '' "$2" "$3" || set -- "-maxdepth $1" "$2" "$3"
	if find "$3" $1 -name "*$nl*" | grep -q .; then
		unseen=yes
		return 0
	fi
	# K3s goes on, and a file may go while it is looked at.
	for once in 1 2 3; do
		find "$3" $1 -exec stat -c 'entry %f %u %g %n' {} + >look && break
		[ "$once" != 3 ] || unseen=yes
	done
	cat look >>entries
	if [ "$2" = 1 ] && [ -f "$3" ] && ! [ -L "$3" ] && [ "$(stat -c %s "$3")" -le 262144 ]; then
		one_line <"$3" | while IFS= read -r line; do printf 'content %s %s\n' "$3" "$line"; done >>entries
	fi
} 2>/dev/null

case ${1-} in
first)
	pause=$2
	first
	;;
inside)
	sleep 0.1 2>/dev/null && pause=0.1 || pause=1
	id=$2
	inside
	;;
*) outside ;;
esac
