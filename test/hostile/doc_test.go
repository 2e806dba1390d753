// Package hostile shows what callers can't do to the webhook. It runs the program
// itself, in a cgroup with the memory that the chart gives a container where cgroups
// can be had, against an API server in memory. Each row of a table is one attack, with
// its bound in time and memory. All the while another namespace sends plain reviews.
//
// It imports what says how to build the program; nothing that it attacks.
package hostile
