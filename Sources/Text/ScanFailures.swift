internal import Synchronization

/// Whether some pattern of a tokenizer has given up on a text: PCRE2 stops a search that backtracks beyond its limits,
/// which no pattern in use does and a hostile one does at once.
///
/// Why not an error where it happens: stages hand pieces of text down through closures, and the next stage is right to
/// see none. `Tokenizer.encode` asks afterwards. A failure stays: such a tokenizer is not to be trusted again.
final class ScanFailures: Sendable {
  private let first = Mutex<String?>(nil)

  func record(_ reason: String) { first.withLock { $0 = $0 ?? reason } }

  /// The first failure, nil if there was none.
  var reason: String? { first.withLock { $0 } }
}
