extension Authority {
    /// The authority kept in a directory; a new one, kept there, when there is none. Blocks.
    ///
    /// A given authority is put there beforehand, as `ca.pem` (also `cert.pem`) and `key.pem`.
    public static func loadOrCreate(
        _ store: IdentityStore, cluster: String, nowUnixS: Int64
    ) throws(IdentityError) -> (authority: Authority, isNew: Bool) {
        if let kept = try store.load() {
            return (try Authority(certificate: kept.certificate, key: kept.key), false)
        }
        let made = try Authority(cluster: cluster, nowUnixS: nowUnixS)
        try store.save(
            IdentityStore.Contents(key: made.key, certificate: made.certificate, authority: made.certificate))
        return (made, true)
    }
}
