// Package minder runs commands so that none of their processes runs on when the job it
// works for may run elsewhere: not after the job's lease has ended, and not after the
// worker was killed or frozen.
//
// A worker cannot see to that by itself, so a small process of its own does: the minder,
// which is the worker's binary run once more. The worker passes it a socket and the
// ends of four pipes for each command.
//
//	worker ──────── control socket: descriptors ───────► minder
//	   │◄── a socket per command: lease, stop, end ─────────┤ starts, signals, reaps
//	   └◄── stdin, stdout, stderr, control of the command ──► process group of the command
//
// Each command leads a process group. The group gets SIGKILL
//
//   - when its leader has exited,
//   - when its deadline has passed, by the monotonic or the wall clock, whichever is
//     further on; the worker moves the deadline every quarter of a second,
//   - when the worker's end of the command's socket closes, which is what the kernel
//     does when a worker dies,
//   - the grace after SIGTERM, when the run's context ended.
//
// If the minder dies, the worker kills the groups that it started, fails their runs and
// starts a new minder for the next one. [Minder.Run] returns when the group is gone. A minder
// without descriptors refuses what it cannot take ([syscall.EMFILE]) and goes on.
//
// # Blind spots
//
// A process that leaves its group, as a daemon does, is no longer minded. One that changed
// its user cannot be killed by this one's: its run lasts until it ends, or until its minder
// has died and the run's context ended. If worker and
// minder are killed in the same moment, the kernel kills the leaders (on Linux) but no one
// their children. A command that sits in the kernel and cannot be interrupted, as on
// a dead network disk, dies when it comes back; if its very program is on such a disk, the
// minder waits with it, since Go starts a program with vfork, and is replaced. Where there is no Linux, a minder killed
// right after it started a command may leave that command behind. A service manager that
// signals every process of a service reaches the commands too: a drain wants systemd's
// KillMode=mixed.
package minder
