//go:build tools

// Package tools keeps the Pulumi engine in go.mod, so that `go build` of it is pinned by go.sum.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
