// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

// Package leftout is what a provider that this Traefik was built without does: it says so.
package leftout

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// Provider stands in for one of them.
type Provider struct{}

var errLeftOut = errors.New("this Traefik was built with PROVIDERS=few, and without this provider")

// Init says so.
func (Provider) Init() error { return errLeftOut }

// Provide says so.
func (Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }
