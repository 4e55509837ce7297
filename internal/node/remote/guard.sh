# guard.sh: started as root in the staging directory. It runs the worker and
# stays until the worker and everything that the worker started has ended. If
# the worker was killed before it could tidy up, the guard puts back what was
# changed and removes what was staged.
LC_ALL=C
export LC_ALL
PATH=${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
trap '' HUP PIPE
work=$(pwd -P)
. ./settings

# stop_late ends the worker after the timeout. It holds none of the worker's
# pipes, so that nobody waits for it.
stop_late() {
	turn=0
	while [ -d "$work" ] && [ "$turn" -lt "$seconds" ]; do
		sleep 1
		turn=$((turn + 1))
	done
	[ -d "$work" ] && IFS= read -r pid <"$work/pid" && kill -TERM "$pid"
}

# A session of its own, where the tool exists, keeps the worker alive when
# whatever runs this command kills its process group.
start=
command -v setsid >/dev/null 2>&1 && start=setsid
# The timeout of busybox lives on for a second and keeps the pipes open.
case $(timeout --help 2>&1) in
*--kill-after*) start="$start timeout $seconds" ;;
*) (
	exec </dev/null >/dev/null 2>&1 9>&-
	stop_late
) & ;;
esac
# The pipe ends when nobody holds it any more: not the worker, and no command
# that outlived it.
{
	{ $start sh ./worker.sh </dev/null; } 3>&1 >&4 4>&- | cat >/dev/null
} 4>&1
[ -d "$work" ] || exit 0
if [ -f undo ]; then
	sh ./undo
elif [ -f clean ]; then
	sh ./clean || sh ./clean
fi
cd /
rm -rf "$work" || rm -rf "$work"
printf '\nk3s-cis %s died\n' "$nonce"
