// Package supervisor is OTP's supervisor in Go: it starts the parts of a program in order, restarts those that fail,
// and stops them in reverse order.
package supervisor
