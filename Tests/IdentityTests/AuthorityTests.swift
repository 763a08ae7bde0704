import Identity
import System
import Testing

@Suite struct AuthorityTests {
    private let nowS = WallClock.nowSeconds()

    private func authority() throws -> Authority { try Authority(cluster: "north", nowUnixS: nowS) }
    private func member(_ role: Role = .peer, _ host: String = "node-1") throws -> MemberIdentity {
        try MemberIdentity(cluster: "north", role: role, host: host)
    }

    @Test func certifiesTheIdentityAndTheKeyOfTheRequest() throws {
        let authority = try authority()
        let key = try PrivateKey()
        let made = try authority.issue(request: try key.request(), to: try member(), lifeS: 3_600, nowUnixS: nowS)
        #expect(made.identity == (try member()))
        #expect(made.notAfterUnixS == nowS + 3_600)
        #expect(made.notBeforeUnixS == nowS - Authority.clockSkewS)
        #expect(!made.isAuthority)
        #expect(key.fits(made))
        #expect(!(try PrivateKey()).fits(made))
        #expect(made.isSigned(by: authority.certificate, atUnixS: nowS))
        let chain = try Certificate.chain(pem: made.pem)
        #expect(chain.count == 2)
        #expect(chain[1].pin == authority.pin)
    }

    @Test func aCertificateIsOfItsOwnAuthorityAndTimeAlone() throws {
        let authority = try authority()
        let other = try self.authority()
        let made = try authority.issue(
            request: try PrivateKey().request(), to: try member(), lifeS: 60, nowUnixS: nowS)
        #expect(!made.isSigned(by: other.certificate, atUnixS: nowS))
        #expect(!made.isSigned(by: authority.certificate, atUnixS: nowS + 61))
        #expect(!made.isSigned(by: authority.certificate, atUnixS: nowS - Authority.clockSkewS - 1))
        #expect(authority.pin != other.pin)
    }

    @Test func aMembersCertificateSignsNobody() throws {
        let key = try PrivateKey()
        let made = try authority().issue(request: try key.request(), to: try member(), lifeS: 60, nowUnixS: nowS)
        #expect(throws: IdentityError.self) { _ = try Authority(certificate: made, key: key) }
    }

    @Test func refusesWhatIsNoRequest() throws {
        let authority = try authority()
        for text in ["", "nonsense", authority.certificate.pem, try PrivateKey().pem] {
            #expect(throws: IdentityError.self) {
                _ = try authority.issue(request: text, to: try member(), lifeS: 60, nowUnixS: nowS)
            }
        }
    }

    @Test func aLifeIsBoundedByTheLimitAndTheAuthoritys() throws {
        let made = try authority().issue(
            request: try PrivateKey().request(), to: try member(), lifeS: .max / 4, nowUnixS: nowS)
        #expect(made.notAfterUnixS == nowS + Authority.memberLifeMaxS)
    }

    @Test func serialsDiffer() throws {
        let authority = try authority()
        let request = try PrivateKey().request()
        let serials = try (0..<32).map { _ in
            try authority.issue(request: request, to: try member(), lifeS: 60, nowUnixS: nowS).serial
        }
        #expect(Set(serials).count == serials.count)
    }

    @Test func namesThatCouldBeReadAsOthersAreNone() {
        for host in ["", "a/b", "a b", "ä", "a,DNS:evil", "a\u{0}b", String(repeating: "a", count: 129)] {
            #expect(throws: IdentityError.self) { _ = try MemberIdentity(cluster: "north", role: .peer, host: host) }
        }
        for uri in [
            "martlet://north/peer", "martlet://north/king/a", "martlet://north/peer/a/b", "http://north/peer/a", "",
            "martlet:///peer/a",
        ] {
            #expect(MemberIdentity(uri: uri) == nil)
        }
        #expect(MemberIdentity(uri: "martlet://north/seed/s-1")?.role == .seed)
    }
}

@Suite struct TokenTests {
    @Test func readsWhatItWrites() throws {
        let token = JoinToken(pin: String(repeating: "ab", count: 32))
        #expect(JoinToken(token.text) == token)
        #expect(JoinToken(" \(token.text)\n") == token)
        #expect(!"\(token)".contains(token.secret))
        #expect(!String(reflecting: token).contains(token.secret))
        #expect(JoinToken.hash(token.secret) == token.secretHash)
        #expect(JoinToken.isEqual(token.secretHash, JoinToken.hash(token.secret)))
        #expect(!JoinToken.isEqual(token.secretHash, JoinToken.hash(token.secret + "0")))
    }

    @Test func refusesWhatIsNone() {
        let token = JoinToken(pin: String(repeating: "ab", count: 32)).text
        for text in ["", "martlet-", String(token.dropLast()), token + "0", token.uppercased(), "x" + token] {
            #expect(JoinToken(text) == nil)
        }
    }
}

@Suite struct IdentityStoreTests {
    @Test func keepsAndReplacesAnIdentityThatOthersCannotRead() throws {
        let path = "/tmp/martlet-identity-\(Entropy.uint64())"
        defer { Self.remove(path) }
        let store = IdentityStore(path: path + "/a")
        #expect(try store.load()?.certificate == nil)
        let (made, isNew) = try Authority.loadOrCreate(store, cluster: "north", nowUnixS: WallClock.nowSeconds())
        #expect(isNew)
        let (again, isNewAgain) = try Authority.loadOrCreate(store, cluster: "north", nowUnixS: WallClock.nowSeconds())
        #expect(!isNewAgain)
        #expect(again.pin == made.pin)
        let directory = try Directory(path: store.path)
        for name in try directory.names() {
            #expect(try directory.status(name)?.permissions == 0o600)
        }
        #expect(try directory.status().permissions == 0o700)
        try directory.open("key.pem", .write).setPermissions(0o640)
        #expect(throws: IdentityError.self) { _ = try store.load() }
    }

    private static func remove(_ path: String) {
        try? Directory(path: "/tmp").removeTree(String(path.dropFirst("/tmp/".count)))
    }
}
