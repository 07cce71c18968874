//go:build tools

// Package tools keeps versitygw in go.mod, so that `go build` of it is pinned by go.sum.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
