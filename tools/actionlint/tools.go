//go:build tools

// Package tools keeps actionlint in go.mod, so that `go build` of it is pinned by go.sum.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
