internal import CXXHash
internal import CZstd

/// The libraries that compress and hash what is stored, for records of what a file was made with.
public enum StorageLibraries {
  public static var zstdVersion: String { unsafe String(cString: ZSTD_versionString()) }

  public static var xxHashVersion: String {
    let number = XXH_versionNumber()
    return "\(number / 10_000).\(number / 100 % 100).\(number % 100)"
  }
}
