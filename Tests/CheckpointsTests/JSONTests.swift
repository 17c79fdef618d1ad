import Checkpoints
import Testing

@Suite struct JSONTests {
  private func parse(_ text: String, _ limits: JSONScanner.Limits = .init()) throws -> JSONValue {
    try JSONScanner.parse(Array(text.utf8), path: "x.json", limits: limits)
  }

  @Test func valuesKeepKindAndOrder() throws {
    let value = try parse(#" {"b":1,"a":[true,false,null,-2.5e3,"x"],"":{} } "#)
    #expect(value.object?.keys == ["b", "a", ""])
    #expect(value["b"] == .integer(1))
    #expect(value["a"]?.array == [.bool(true), .bool(false), .null, .number(-2500), .string("x")])
    #expect(value["b"]?.double == 1 && value["zzz"] == nil)
  }

  @Test func integersAreExactAndLongOnesAreNumbers() throws {
    #expect(try parse("9223372036854775807").integer == .max)
    #expect(try parse("1000000000000000019884624838656").double == 1e30)
    #expect(try parse("-0") == .number(-0.0))
    #expect(try parse("\"9007199254740993\"").integer == 9_007_199_254_740_993)
    #expect(try parse("\"007\"").integer == nil)
  }

  @Test func stringsDecodeEscapes() throws {
    #expect(try parse(#""a\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00z""#) == "a\"\\/\u{8}\u{c}\n\r\té\u{e9}😀z")
  }

  @Test func keysThatOnlyLookAlikeAreDifferent() throws {
    let value = try parse(#"{"\u00e9":1,"e\u0301":2}"#)
    #expect(value.object?.count == 2)
    #expect(value["\u{e9}"] == 1 && value["e\u{301}"] == 2)
  }

  @Test(arguments: [
    ("", 0), ("{", 1), (#"{"a":1,"a":2}"#, 7), (#"{"a":1,}"#, 7), ("[1,]", 3), ("[1 2]", 3), ("01", 1), ("1.", 2),
    ("+1", 0),
    (".5", 0), ("1e", 2), ("1e999", 0), ("NaN", 0), ("Infinity", 0), ("tru", 3), ("\"\u{1}\"", 1), ("\"abc", 4),
    (#""\x""#, 2), (#""\ud800""#, 7), (#""\udc00x""#, 7), (#""\ud800\u0041""#, 13), ("{}x", 2), ("\u{FEFF}{}", 0),
    ("'a'", 0),
    (#"{"a" 1}"#, 5), (#"{a:1}"#, 1), ("nul", 3), (#""\u12g4""#, 5),
  ])
  func malformedTextIsRefusedWithItsOffset(text: String, offset: Int) {
    let error = refusal { _ = try parse(text) }
    #expect(error?.offset == offset, "\(text): \(error?.description ?? "")")
  }

  @Test func invalidUTF8IsRefused() {
    for bytes: [UInt8] in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22]] {
      expectRefusal("UTF-8") { _ = try JSONScanner.parse(bytes) }
    }
  }

  @Test func limitsHold() throws {
    let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
    expectRefusal("nested") { _ = try parse(deep) }
    _ = try parse(String(deep.dropFirst().dropLast()))
    expectRefusal("nested") { _ = try parse(String(repeating: "[", count: 100_000)) }
    expectRefusal("values") { _ = try parse("[1,2,3]", .init(values: 3)) }
    expectRefusal("at most 3 bytes") { _ = try parse("[1,2]", .init(bytes: 3)) }
  }

  @Test func canonicalFormIsStable() throws {
    let value: JSONValue = [
      "z": [1, 2.5, nil, true, 1e-7, 1e300, 0.1], "a": .integer(1 << 53), "b": .integer(1 << 53 + 1),
      "é": "\u{1}\"\\\n/",
      "e\u{301}": [:], "n": [],
    ]
    let bytes = value.serialized()
    let text = String(decoding: bytes, as: UTF8.self)
    // By bytes: the accent after the "e" is a combining one.
    #expect(bytes.starts(with: Array(#"{"a":9007199254740992,"b":"9007199254740993","e"#.utf8)), "\(text)")
    #expect(text.contains(#""é":"\u0001\"\\\n/""#))
    #expect(try JSONScanner.parse(bytes).serialized() == bytes)
    #expect(try JSONScanner.parse(value.serialized(order: .given, indent: 2)).object?.keys == value.object?.keys)
  }

  @Test func objectsReplaceAndRemoveMembers() {
    var object = JSONObject()
    for (index, key) in ["a", "b", "c"].enumerated() { object[key] = .integer(index) }
    object["b"] = nil
    object["a"] = 7
    #expect(object.keys == ["a", "c"] && object["c"] == 2 && object["a"] == 7 && object["b"] == nil)
  }

  @Test func errorsEscapeControlCharacters() {
    let error = CheckpointError(
      "read", path: "a\u{1B}[31m\nb", tensor: "t\u{202E}", expected: "x", found: "y", hint: "Do z")
    #expect(error.description == #"cannot read a\u{1b}[31m\u{a}b, tensor "t\u{202e}": expected x, found y. Do z."#)
  }
}
