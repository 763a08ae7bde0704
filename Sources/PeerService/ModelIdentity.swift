import Artifacts
import Digests

/// A model's identity, computed and not believed.
enum ModelIdentity {
    /// SHA-256 of the manifest's canonical text.
    static func of(_ manifest: Manifest) -> ModelID { ModelID(Digests.sha256(Array(manifest.canonicalText.utf8))) }
}
