// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

// Package dns stands in for the list of all DNS providers of lego: who proves a name with HTTP-01 or TLS-ALPN-01 asks
// none of them.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName says that there is none.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this Traefik was built with PROVIDERS=few: there is no DNS provider %s in it", name)
}
