package harden

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// installerUnits are the SHA-256 of the units that K3s's installer writes when
// it is given no arguments: they start K3s with its defaults, as no unit does.
// Knowing them spares most images the second look (install.sh, with and without
// User=root, of types notify and exec).
var installerUnits = map[k3s.Role][]string{
	k3s.Server: {
		"adb161a79a851f710cb20acac0721e02c65b67c815fa86f6075a3be7b5997d96",
		"76fa7172334cada97c082bb969d0b31fb7024688fdac490bbb19a43bca8115d4",
		"5822a0a84a618c8812812c1d5d9552c865a2c2a07403dea138123d6ac5a96b6a",
		"abd6bba9651ae30596fa5f6e4d48be30caeb01875f0d14a6c88bb8b64376d6cb",
	},
	k3s.Agent: {
		"65ef9bc2d2ec743511b87007c9591bcd7e86f52cb375e585429a99f82fb975d4",
		"d07b8d1fd2ea2db832d44729712e73946f731e700481efb93e5d17b06095260e",
		"d2982417e4d759f3aab5882516c17fdfeffc0635548bfb936393111cbe800d95",
		"192f7d8b18b2f02404b97876738e5be989f91eeb1d33586ca1fb9b69f8815ffa",
	},
}

// plainUnits are the contents, by hash, that the file at a path may have to
// start K3s plainly; none where the path is not the installer's unit.
func plainUnits(role k3s.Role, name string) []string {
	if name != k3s.SystemdDir+"/"+role.ServiceName()+".service" {
		return nil
	}
	return installerUnits[role]
}
