internal import CPCRE2

/// A compiled regular expression over UTF-8: PCRE2 with its just-in-time compiler, Unicode classes, multi-line anchors.
///
/// Sharing is sound: compiled code is read only after `init`, and each scan has match data of its own.
@safe final class Pattern: @unchecked Sendable {
  let source: String
  private let code: OpaquePointer
  private let failures: ScanFailures
  private let limits: OpaquePointer
  /// What a search may take of the heap, in KiB; without a limit of ours it is 20 GB.
  private static let heapLimit: UInt32 = 256 << 10

  /// Why a pattern was refused, and where (scalars from its start for a translation, bytes for a compilation).
  struct Refusal: Error {
    let reason: String
    let offset: Int
  }

  /// - Parameters:
  ///   - source: the pattern as `tokenizer.json` has it, in Oniguruma's syntax.
  ///   - failures: is told of searches that were given up.
  init(_ source: String, _ failures: ScanFailures) throws(Refusal) {
    let translated: String
    do { translated = try PatternTranslation.pcre2(source) } catch {
      throw Refusal(reason: "\(error.construct) is not supported", offset: error.offset)
    }
    var code: CInt = 0
    var offset = 0
    let options = UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP) | UInt32(PCRE2_MULTILINE)
    let bytes = Array(translated.utf8)
    let compiled = unsafe bytes.withUnsafeBufferPointer {
      unsafe pcre2_compile_8($0.baseAddress, $0.count, options, &code, &offset, nil)
    }
    guard let compiled = unsafe compiled else { throw Refusal(reason: Self.message(code), offset: offset) }
    // Without a just-in-time compiler for this processor PCRE2 interprets the same code: slower, equal results.
    _ = unsafe pcre2_jit_compile_8(compiled, UInt32(PCRE2_JIT_COMPLETE))
    unsafe self.code = unsafe compiled
    guard let limits = unsafe pcre2_match_context_create_8(nil) else { fatalError("PCRE2: no memory for limits") }
    unsafe _ = pcre2_set_heap_limit_8(limits, Self.heapLimit)
    unsafe self.limits = unsafe limits
    self.source = source
    self.failures = failures
  }

  deinit {
    unsafe pcre2_code_free_8(code)
    unsafe pcre2_match_context_free_8(limits)
  }

  /// Calls `body` with every match from left to right; matches do not overlap.
  ///
  /// An empty match directly after the previous match is passed over, as Oniguruma's iterator does.
  /// - Precondition: `text` is well-formed UTF-8.
  func forEachMatch(in text: Span<UInt8>, _ body: (Range<Int>) -> Void) {
    // The span outlives the scan; PCRE2 keeps no pointer after `pcre2_match` returns.
    unsafe text.withUnsafeBufferPointer { subject in
      guard let base = subject.baseAddress else { return }
      guard let match = unsafe pcre2_match_data_create_8(1, nil) else { fatalError("PCRE2: no memory for a match") }
      defer { unsafe pcre2_match_data_free_8(match) }
      let bounds = unsafe pcre2_get_ovector_pointer_8(match)!
      var start = 0
      var lastEnd = -1
      while start <= subject.count {
        guard unsafe search(base, subject.count, from: start, match) else { return }
        let range = unsafe bounds[0]..<max(bounds[0], bounds[1])
        if range.isEmpty, range.lowerBound == lastEnd {
          start += 1
          while start < subject.count, unsafe subject[start] & 0xC0 == 0x80 { start += 1 }
          continue
        }
        body(range)
        start = range.upperBound
        lastEnd = range.upperBound
      }
    }
  }

  /// Whether there is a match; not if the search had to be given up, which `failures` is told.
  private func search(_ base: UnsafePointer<UInt8>, _ count: Int, from start: Int, _ match: OpaquePointer) -> Bool {
    var result = unsafe pcre2_match_8(code, base, count, start, UInt32(PCRE2_NO_UTF_CHECK), match, limits)
    if result == PCRE2_ERROR_JIT_STACKLIMIT {
      // Compiled code keeps backtracking points on the machine stack; the interpreter keeps them on the heap.
      let options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_NO_JIT)
      result = unsafe pcre2_match_8(code, base, count, start, options, match, limits)
    }
    if result < 0, result != PCRE2_ERROR_NOMATCH {
      failures.record("pattern \(source): \(Self.message(result)) at byte \(start) of \(count)")
    }
    return result >= 0
  }

  private static func message(_ code: CInt) -> String {
    var text = [UInt8](repeating: 0, count: 256)
    let length = unsafe text.withUnsafeMutableBufferPointer {
      unsafe pcre2_get_error_message_8(code, $0.baseAddress, $0.count)
    }
    return length < 0 ? "PCRE2 error \(code)" : String(decoding: text[..<Int(length)], as: UTF8.self)
  }
}

/// What a Replace or Split stage looks for.
enum Matcher: Sendable {
  case literal([UInt8])
  case pattern(Pattern)
  /// Each numeric character by itself (general categories Nd, Nl, No).
  case numeric

  func forEachMatch(in text: Span<UInt8>, _ body: (Range<Int>) -> Void) {
    switch self {
    case .literal(let needle):
      var offset = 0
      search: while offset + needle.count <= text.count {
        for index in needle.indices where text[offset + index] != needle[index] {
          offset += 1
          continue search
        }
        body(offset..<(offset + needle.count))
        offset += needle.count
      }
    case .pattern(let pattern):
      pattern.forEachMatch(in: text, body)
    case .numeric:
      var offset = 0
      while offset < text.count {
        guard case .scalar(let value, let length) = UTF8Scanner.step(text, at: offset) else {
          preconditionFailure("text is not UTF-8 at byte \(offset) of \(text.count)")
        }
        let isNumeric =
          switch Unicode.Scalar(value)!.properties.generalCategory {
          case .decimalNumber, .letterNumber, .otherNumber: true
          default: false
          }
        if isNumeric { body(offset..<(offset + length)) }
        offset += length
      }
    }
  }

  /// The text with every match replaced; `content` is taken literally.
  func replacing(in text: Span<UInt8>, with content: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count + text.count / 2)
    var last = 0
    forEachMatch(in: text) { range in
      for index in last..<range.lowerBound { result.append(text[index]) }
      result += content
      last = range.upperBound
    }
    for index in last..<text.count { result.append(text[index]) }
    return result
  }
}
