#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ctrl-C, SIGTERM and SIGUSR1 ask for a checkpoint and a clean end. A handler only sets a flag: the step in progress is
/// finished first, and all ranks stop after the same one.
enum StopSignals {
  // Written by a signal handler, read between steps: a word-sized store that cannot tear.
  nonisolated(unsafe) private static var received: sig_atomic_t = 0

  static func install() {
    for signal in [SIGINT, SIGTERM, SIGUSR1] {
      var action = sigaction()
      unsafe action.__sigaction_handler.sa_handler = { unsafe StopSignals.received = sig_atomic_t($0) }
      // A second Ctrl-C ends the process at once.
      action.sa_flags = Int32(bitPattern: UInt32(SA_RESTART)) | Int32(bitPattern: UInt32(SA_RESETHAND))
      unsafe sigaction(signal, &action, nil)
    }
  }

  static var isRaised: Bool { unsafe received != 0 }
}
