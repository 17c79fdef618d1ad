#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Signals that end a command without a word: a reader that left (`mfqat … | head`), and Ctrl-C.
enum Signals {
  static func install() {
    // Its default, also where the parent ignored it: a program whose reader has gone has nothing more to do.
    var pipe = sigaction()
    unsafe pipe.__sigaction_handler.sa_handler = SIG_DFL
    unsafe sigaction(SIGPIPE, &pipe, nil)

    var interrupt = sigaction()
    unsafe interrupt.__sigaction_handler.sa_handler = { signal in
      // Only calls that are safe in a handler. The meter's line is ended, so that the prompt starts on its own.
      if isatty(2) == 1 { unsafe _ = write(2, "\n", 1) }
      _exit(128 + signal)
    }
    unsafe sigaction(SIGINT, &interrupt, nil)

    // A parent that blocks signals in its threads, as thread pools do, hands its mask down.
    var heard = sigset_t()
    unsafe sigemptyset(&heard)
    for signal in [SIGPIPE, SIGINT, SIGTERM, SIGUSR1] { unsafe sigaddset(&heard, signal) }
    unsafe pthread_sigmask(SIG_UNBLOCK, &heard, nil)
  }
}
