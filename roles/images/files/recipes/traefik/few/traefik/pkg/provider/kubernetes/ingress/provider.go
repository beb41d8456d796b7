// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

// Package ingress stands in for the provider of Kubernetes' Ingress.
package ingress

import "github.com/traefik/traefik/v3/pkg/provider/leftout"

// Provider has what the static configuration reads.
type Provider struct {
	leftout.Provider
	DefaultRuleSyntax string
}
