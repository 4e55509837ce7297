# program.sh: functions of the worker that run a program of the caller's, which
# ends no later than whoever waits for its answer.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# run_program runs the program and puts what it prints into the answer. Its
# standard input ends when the program has to.
run_program() {
	mkfifo -m 600 leash 2>err || quit "a program cannot be run: $(reason err)"
	watch 5>&1 >leash &
	watcher=$!
	(cd program && exec sh ./program.sh) <leash >said 2>said.errors
	status=$?
	kill "$watcher" 2>/dev/null
	rm -f "$stop"
	sed 's/^/x /' said >>report
	lines=
	[ "$status" = 0 ] || report "error the program ended with status $status: $(reason said.errors)"
}

# watch stays as long as somebody hears it on descriptor 5, nobody has asked to stop
# with the file $stop, the worker is there and the time is not over.
watch() {
	trap 'kill "$nap" 2>/dev/null; exit' TERM
	turn=0
	while kill -0 $$ && [ "$turn" -lt "$seconds" ] && ! [ -e "$stop" ] && printf 'k3s-cis %s alive\n' "$nonce" >&5; do
		sleep 1 >/dev/null 3>&- 5>&- 9>&- &
		nap=$!
		wait "$nap"
		turn=$((turn + 1))
	done
} 2>/dev/null
