import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ctrl-C, SIGTERM and SIGUSR1 ask for a checkpoint and a clean end. A handler only sets a flag: the step in
/// progress, or its micro-batch, is finished first, and all ranks stop after the same one.
enum StopSignals {
  // Written by a signal handler, read between steps: a word-sized store that cannot tear.
  nonisolated(unsafe) private static var received: sig_atomic_t = 0

  /// Runs in progress (ranks can be threads of one process), and what the first of them found installed.
  private struct Installation {
    var runs = 0
    var previous: [(signal: Int32, action: sigaction)] = []
  }
  private static let installation = Mutex(Installation())

  private static let signals = [SIGINT, SIGTERM, SIGUSR1]

  /// From here on a signal raises the flag, also where whoever started the process has blocked it. Each call needs its
  /// `restore()`.
  static func install() {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    installation.withLock { state in
      state.runs += 1
      guard state.runs == 1 else { return }
      unsafe received = 0
      for signal in signals {
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { unsafe StopSignals.received = sig_atomic_t($0) }
        // A second Ctrl-C ends the process at once.
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESTART)) | Int32(bitPattern: UInt32(SA_RESETHAND))
        var previous = sigaction()
        unsafe sigaction(signal, &action, &previous)
        state.previous.append((signal, previous))
      }
    }
  }

  /// Puts back what was installed before.
  static func restore() {
    installation.withLock { state in
      state.runs -= 1
      guard state.runs == 0 else { return }
      for (signal, action) in state.previous {
        var action = action
        unsafe sigaction(signal, &action, nil)
      }
      state.previous = []
    }
  }

  /// The signal that asked this process to stop, if one did.
  static var raised: String? {
    switch unsafe received {
    case 0: nil
    case SIGINT: "SIGINT"
    case SIGTERM: "SIGTERM"
    case SIGUSR1: "SIGUSR1"
    case let number: "signal \(number)"
    }
  }
}
