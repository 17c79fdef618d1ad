/// Patterns of `tokenizer.json` are written for Oniguruma (Ruby syntax); this rewrites one for PCRE2.
///
/// The two agree on most of what tokenizers use. Where they read the same text differently the pattern is rewritten
/// (`\s`, `\w`, `\v`, `\uHHHH`) or refused by name: a tokenizer that splits almost like the original is worse than none.
enum PatternTranslation {
  /// What in the pattern has no counterpart.
  struct Refusal: Error {
    let construct: String
    let offset: Int
  }

  /// Unicode's White_Space. PCRE2's `\s` also holds U+180E, which left the property in Unicode 6.3.
  private static let space = #"\p{White_Space}"#
  /// Unicode's word characters (UTS 18, annex C, less Join_Control, as Oniguruma has them).
  private static let word = #"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"#

  static func pcre2(_ pattern: String) throws(Refusal) -> String {
    let input = Array(pattern.unicodeScalars)
    var output = String.UnicodeScalarView()
    var index = 0
    var inClass = false

    func next(_ distance: Int) -> Unicode.Scalar? {
      index + distance < input.count ? input[index + distance] : nil
    }

    while index < input.count {
      let scalar = input[index]
      if scalar == "\\" {
        guard let escaped = next(1) else { throw Refusal(construct: "a backslash at the end", offset: index) }
        index += 2
        switch escaped {
        case "s": output += space.unicodeScalars
        case "S": output += #"\P{White_Space}"#.unicodeScalars
        case "w": output += (inClass ? word : "[\(word)]").unicodeScalars
        case "W" where !inClass: output += "[^\(word)]".unicodeScalars
        case "v": output += #"\x{0B}"#.unicodeScalars
        case "u":
          let digits = input[index..<min(index + 4, input.count)]
          guard digits.count == 4, digits.allSatisfy({ $0.properties.isASCIIHexDigit }) else {
            throw Refusal(construct: #"\u without four digits"#, offset: index - 2)
          }
          output += (#"\x{"# + String(String.UnicodeScalarView(digits)) + "}").unicodeScalars
          index += 4
        case "d", "D", "p", "P", "n", "r", "t", "f", "a", "e", "x", "A", "z":
          output += ["\\", escaped]
          // The braces of \p{…} and \x{…} are not a repetition.
          if escaped == "p" || escaped == "P" || escaped == "x", index < input.count, input[index] == "{" {
            while index < input.count, input[index] != "}" {
              output.append(input[index])
              index += 1
            }
          }
        default:
          guard !escaped.properties.isAlphabetic, escaped.properties.numericType == nil else {
            throw Refusal(construct: "\\\(escaped)\(inClass ? " in a class" : "")", offset: index - 2)
          }
          output += ["\\", escaped]
        }
        continue
      }
      if inClass {
        if scalar == "[" {
          guard next(1) == ":" else { throw Refusal(construct: "a class inside a class", offset: index) }
          while index < input.count, input[index] != "]" {
            output.append(input[index])
            index += 1
          }
        } else if scalar == "&", next(1) == "&" {
          throw Refusal(construct: "an intersection of classes (&&)", offset: index)
        } else if scalar == "]" {
          inClass = false
        }
      } else if scalar == "[" {
        inClass = true
        if next(1) == "^" {
          output.append(scalar)
          index += 1
        }
        if next(1) == "]" { throw Refusal(construct: "a class that begins with ']'", offset: index) }
        output.append(input[index])
        index += 1
        continue
      } else if scalar == "(", next(1) == "?" {
        try checkGroup(input, at: index)
      } else if scalar == "{" {
        try checkRepetition(input, at: index)
      }
      if index < input.count { output.append(input[index]) }
      index += 1
    }
    return String(output)
  }

  /// `(?` may open a group, a look-around, an atomic group or an `i` option; Ruby's `m` is PCRE2's `s`.
  private static func checkGroup(_ input: [Unicode.Scalar], at start: Int) throws(Refusal) {
    let rest = String(String.UnicodeScalarView(input[(start + 2)..<min(start + 5, input.count)]))
    for opening in [":", "=", "!", "<=", "<!", ">", "i:", "i)", "-i:", "-i)"] where rest.hasPrefix(opening) { return }
    throw Refusal(construct: "the group (?\(rest)", offset: start)
  }

  /// `{n}`, `{n,}` and `{n,m}` mean the same in both; a `+` or `?` after them, and `{,m}`, do not.
  private static func checkRepetition(_ input: [Unicode.Scalar], at start: Int) throws(Refusal) {
    guard let close = input[start...].firstIndex(of: "}"), start + 1 < input.count,
      input[start + 1].properties.numericType != nil
    else { throw Refusal(construct: "a brace that opens no repetition {n,m}", offset: start) }
    if close + 1 < input.count, input[close + 1] == "+" || input[close + 1] == "?" {
      throw Refusal(construct: "a repetition {n,m} followed by '\(input[close + 1])'", offset: start)
    }
  }
}
