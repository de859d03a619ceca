// Package packagetest has registries of packages for tests: npm's, PyPI's, Packagist's and one for Go. What they
// offer is made here and does little more than its namesakes' first examples, so that
// what tests install with the real npm and pip comes from nowhere but this package.
package packagetest
