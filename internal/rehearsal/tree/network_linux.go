package tree

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// loopback is the index of the loopback device: it is the first of a namespace.
const loopback = 1

// network gives the namespace an address and a default route to look at, both on
// the loopback device: nothing leads out.
func network() error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	address := netip.MustParseAddr(rehearsal.Address).As4()
	link := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(link[4:], loopback)
	binary.NativeEndian.PutUint32(link[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(link[12:], unix.IFF_UP)
	added := []byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE, loopback, 0, 0, 0}
	added = attribute(added, unix.IFA_LOCAL, address[:])
	added = attribute(added, unix.IFA_ADDRESS, address[:])
	route := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	route = attribute(route, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, loopback))
	route = attribute(route, unix.RTA_PREFSRC, address[:])
	for _, m := range []struct {
		what string
		kind uint16
		body []byte
	}{{"the device", unix.RTM_NEWLINK, link}, {"the address", unix.RTM_NEWADDR, added}, {"the route", unix.RTM_NEWROUTE, route}} {
		if err := request(s, m.kind, m.body); err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	return nil
}

// attribute appends an attribute of rtnetlink, whose values here are whole words.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...)
}

// request sends one message and waits for the kernel's answer.
func request(s int, kind uint16, body []byte) error {
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if kind != unix.RTM_NEWLINK { // the device is there
		flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = append(m, make([]byte, 8)...) // sequence and port
	if err := unix.Sendto(s, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	switch {
	case err != nil:
		return err
	case n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
		return fmt.Errorf("an answer of %d bytes that is none", n)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
