// Copyright (c) 2026 the Quaylock developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

package types

import (
	"context"

	"go.opentelemetry.io/otel/sdk/resource"
)

// K8sAttributesDetector finds nothing: this Traefik was built without Kubernetes.
type K8sAttributesDetector struct{}

// Detect finds nothing.
func (K8sAttributesDetector) Detect(context.Context) (*resource.Resource, error) {
	return resource.Empty(), nil
}
