// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

// Package crd stands in for the provider of Traefik's own resources in Kubernetes.
package crd

import (
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/gateway"
	"github.com/traefik/traefik/v3/pkg/provider/leftout"
)

// Provider has what the static configuration reads.
type Provider struct {
	leftout.Provider
}

// FillExtensionBuilderRegistry has nothing to add.
func (Provider) FillExtensionBuilderRegistry(*gateway.Provider) {}
