public import Formats
public import Tensors
public enum BlockCodec { public static func roundTrip(inPlace x: inout Tensor, format: MXFormat) {} }
