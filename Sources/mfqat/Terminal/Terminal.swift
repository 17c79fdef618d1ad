#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Standard output for results, standard error for everything else. No colours: `NO_COLOR` has nothing to turn off.
enum Terminal {
  static var outputIsTerminal: Bool { isatty(1) == 1 }
  static var errorIsTerminal: Bool { isatty(2) == 1 }

  /// Writes a result as it is.
  static func output(_ text: String) throws {
    if let code = write(text, to: 1) {
      throw Refusal("cannot write to standard output: \(unsafe String(cString: strerror(code)))")
    }
  }

  /// Writes text that a model or a file made: on a terminal without control characters other than newline and tab,
  /// which could drive the terminal; elsewhere as it is.
  static func outputForeign(_ text: String) throws { try output(outputIsTerminal ? harmless(text) : text) }

  /// Writes a line of a person's reading to standard error. If that fails there is nobody to tell.
  static func note(_ line: String) { _ = write(harmless(line) + "\n", to: 2) }

  /// Writes a meter's line, carriage return included.
  static func meter(_ line: String) { _ = write(line, to: 2) }

  static func harmless(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      let isControl = scalar.value < 0x20 || scalar.value == 0x7F || (0x80...0x9F).contains(scalar.value)
      if isControl && scalar != "\n" && scalar != "\t" {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// - Returns: the error number of a failure.
  private static func write(_ text: String, to descriptor: Int32) -> Int32? {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Self.writeBytes(descriptor, buffer.baseAddress! + done, buffer.count - done)
      }
      if count < 0 {
        if errno == EINTR { continue }
        return errno
      }
      done += count
    }
    return nil
  }

  private static func writeBytes(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    #if canImport(Glibc)
      unsafe Glibc.write(descriptor, bytes, count)
    #else
      unsafe Musl.write(descriptor, bytes, count)
    #endif
  }
}

/// Variables of the process's environment.
enum Environment {
  static subscript(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }
}
