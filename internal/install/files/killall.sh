#!/bin/sh
# Written by packer-plugin-k3s (provisioner k3s-cis).
# Stops K3s with all that it started, and takes back what pods changed on the host:
# mounts, network links and namespaces, packet filter rules. What K3s and pods keep
# on the disk stays. Used as root.
set -u

if [ "$(id -u)" != 0 ]; then
	echo "$0: root alone can do this" >&2
	exit 1
fi

# K3s's data directories.
set -- {{.DataDirs}}

# A system may lack programs that K3s brings along.
for data; do
	PATH=$PATH:$data/data/current/bin:$data/data/current/bin/aux
done

for name in k3s k3s-agent; do
	if [ -d /run/systemd/system ]; then
		systemctl stop "$name" 2>/dev/null
	elif [ -x "/etc/init.d/$name" ]; then
		"/etc/init.d/$name" stop
	fi
done

# The processes of a pod are below a shim of K3s's containerd.
shims=
for exe in /proc/[0-9]*/exe; do
	program=$(readlink "$exe" 2>/dev/null) || continue
	for data; do
		case $program in
		"$data"/data/*/containerd-shim*)
			pid=${exe#/proc/}
			shims="$shims ${pid%/exe}"
			;;
		esac
	done
done
if [ -n "$shims" ]; then
	# shellcheck disable=SC2046,SC2086
	kill -KILL $shims $(cat /proc/[0-9]*/status 2>/dev/null | awk -v shims="$shims" '
		/^Pid:/ { pid = $2 }
		/^PPid:/ { parent[pid] = $2 }
		END {
			n = split(shims, list)
			for (i = 1; i <= n; i++) ends[list[i]] = 1
			do {
				more = 0
				for (p in parent) if (!(p in ends) && parent[p] in ends) {
					ends[p] = more = 1
					print p
				}
			} while (more)
		}') 2>/dev/null
fi

# What lies deeper is unmounted first. The kernel writes odd characters in octal.
for at in /run/k3s/ /var/lib/kubelet/pods/ /var/lib/kubelet/plugins/ /run/netns/cni-; do
	awk -v at="$at" 'index($2, at) == 1 { print $2 }' /proc/mounts | sort -r | while IFS= read -r mount; do
		mount=$(printf '%b_' "$mount")
		mount=${mount%_}
		umount "$mount" 2>/dev/null || umount -l "$mount"
	done
done
for netns in /run/netns/cni-*; do
	[ ! -e "$netns" ] || ip netns delete "${netns##*/}" 2>/dev/null || rm -f "$netns"
done

for link in $(ip -o link show master cni0 2>/dev/null | sed 's/^[0-9]*: //; s/[@:].*//') \
	cni0 flannel.1 flannel-v6.1 flannel-wg flannel-wg-v6 kube-ipvs0; do
	ip link delete "$link" 2>/dev/null
done
rm -rf /var/lib/cni

for tool in iptables ip6tables; do
	if command -v "$tool-save" >/dev/null && command -v "$tool-restore" >/dev/null; then
		"$tool-save" | grep -v -e KUBE- -e CNI- -e FLANNEL -e flannel | "$tool-restore"
	fi
done
exit 0
