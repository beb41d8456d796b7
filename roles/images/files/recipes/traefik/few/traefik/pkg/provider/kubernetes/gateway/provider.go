// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

// Package gateway stands in for the provider of Kubernetes' Gateway API.
package gateway

import "github.com/traefik/traefik/v3/pkg/provider/leftout"

// Entrypoint is what the static configuration says of one.
type Entrypoint struct {
	Address        string
	HasHTTPTLSConf bool
}

// Provider has what the static configuration reads.
type Provider struct {
	leftout.Provider
	EntryPoints map[string]Entrypoint
}
