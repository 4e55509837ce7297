# guard.sh: read by root's shell in the staging directory. It runs the worker and
# stays until the worker and everything that the worker started has ended. If
# the worker was killed before it could tidy up, the guard puts back what was
# changed and removes what was staged.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013
. ./settings
# It begins again in a shell of its own, which has no options, functions, aliases
# and variables of the caller's. The request file has done so already.
PATH=${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
case ${1-} in
"$nonce") ;;
*) exec env -i PATH="$PATH" HOME="${HOME:-/}" LC_ALL=C sh ./guard.sh "$nonce" ;;
esac
export PATH
umask 077
trap '' HUP PIPE
work=$PWD

# stop_late ends the worker after the timeout, and all that the worker waits
# for; what does not end by itself in time is killed. It holds none of the
# worker's pipes, so that nobody waits for it, nor is it taken for the run itself.
stop_late() {
	cd /
	trap 'kill "$nap" 2>/dev/null; exit' TERM
	signal=TERM turn=0
	while [ -d "$work" ]; do
		sleep 1 &
		nap=$!
		wait "$nap"
		turn=$((turn + 1))
		[ "$turn" -ge "$seconds" ] || continue
		IFS= read -r pid <"$work/pid" && kill "-$signal" "$group$pid"
		signal=KILL seconds=$((turn + 20))
	done
}

# A session of its own, where the tool exists, keeps the worker alive when
# whatever runs this command kills its process group.
start='' group=''
command -v setsid >/dev/null 2>&1 && start=setsid group=-
# The pipe ends when nobody holds it any more: not the worker, and no command
# that outlived it.
{
	{ exec $start sh ./worker.sh "$work" </dev/null; } 3>&1 >&4 4>&- | {
		stop_late </dev/null >/dev/null 2>&1 4>&- 9>&- &
		while read -r line; do :; done
		kill $! 2>/dev/null
	}
} 4>&1
[ -d "$work" ] || exit 0
if [ -f armed ] && ! [ -f settled ]; then
	[ "$(sh ./undo)" = undone ] || [ "$(sh ./undo)" = undone ] || {
		printf '\nk3s-cis %s kept %s\n' "$nonce" "$work"
		exit 0
	}
elif [ -f clean ]; then
	sh ./clean || sh ./clean
fi
cd /
rm -rf "$work" || rm -rf "$work"
printf '\nk3s-cis %s died\n' "$nonce"
exit 0
