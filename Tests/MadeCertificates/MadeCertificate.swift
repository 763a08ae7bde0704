/// Certificates for tests, good for a hundred years (one of them for none), with keys that guard nothing.
///
/// Made by `openssl req` and `openssl x509`: P-256, extended key usage for both sides, one URI each.
public struct MadeCertificate: Sendable {
    /// PEM texts.
    public let certificate: String
    /// See `certificate`.
    public let key: String

    /// The authority of most.
    public static let authority = """
        -----BEGIN CERTIFICATE-----
        MIIBjzCCATWgAwIBAgIUBQ0e95DWZuiON133L8T9qtSBBdYwCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTAxMTk0OFoYDzIxMjYxMDI4
        MDExOTQ4WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAATNprAauD+oxIgmE+hqRjQ6X++vJD+MdUtBJVT3ooX+nkv0riYEWcV4
        VixwrGEtjaRWqZX/FE6MLjpKOxDSh2bwo2MwYTAdBgNVHQ4EFgQUS4Km/ZKrEKl1
        RKQC3HQdaObkDVMwHwYDVR0jBBgwFoAUS4Km/ZKrEKl1RKQC3HQdaObkDVMwDwYD
        VR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSAAwRQIg
        QIMqeX+VQlsm/dURFQL8egvGxX4ctHCiqRB5YwB+ymgCIQDSLdJCJrd4UxC82sUb
        a+l3F+xLLtTf0IzGHs7K9MrEvA==
        -----END CERTIFICATE-----
        """
    /// `martlet://here/peer/one`.
    public static let one = MadeCertificate(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBvDCCAWGgAwIBAgIUJmlTzaafC5VIqQrPwhqNetNrYcQwCgYIKoZIzj0EAwIw
            FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTAxMTk0OVoYDzIxMjYxMDI4
            MDExOTQ5WjAOMQwwCgYDVQQDDANvbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
            AASkicpymH+umN5JiP2vG2AwxoCKgDuPzY5W8H1KH64YhL58B5Wrz9UnaIyI8ih8
            HVqvO3hSRPiFLPVOW/HcgIZwo4GUMIGRMCIGA1UdEQQbMBmGF21hcnRsZXQ6Ly9o
            ZXJlL3BlZXIvb25lMAwGA1UdEwEB/wQCMAAwHQYDVR0lBBYwFAYIKwYBBQUHAwEG
            CCsGAQUFBwMCMB0GA1UdDgQWBBSCQaJKDuMSrgj9gHEVDXt0V8/VBzAfBgNVHSME
            GDAWgBRLgqb9kqsQqXVEpALcdB1o5uQNUzAKBggqhkjOPQQDAgNJADBGAiEA0maI
            PggTIC81APzBucVGjTO4asD69Bzkbd9vdlaUULoCIQCBc542t6zBZ/LFO1yfaJ2B
            iIQuwj5qI1HAhadBCFTrVw==
            -----END CERTIFICATE-----
            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkWwPePAJojFL0Flw
            pEBZYDmxkxznXxjTaw8SBtcDVFmhRANCAASkicpymH+umN5JiP2vG2AwxoCKgDuP
            zY5W8H1KH64YhL58B5Wrz9UnaIyI8ih8HVqvO3hSRPiFLPVOW/HcgIZw
            -----END PRIVATE KEY-----
            """)
    /// `martlet://here/seed/two`.
    public static let two = MadeCertificate(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBujCCAWGgAwIBAgIUI0xiqrlSHHSPcVAm48zWt0OadocwCgYIKoZIzj0EAwIw
            FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTAxMTk0OVoYDzIxMjYxMDI4
            MDExOTQ5WjAOMQwwCgYDVQQDDAN0d28wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
            AATQCzdZzHhqaI2Ww+uMSA3bhPVG+aIk9rq8ANif5FQJuWIo4QYfj6+/u0/OoJdN
            xUXKvds7HYdJ0iRPPmutgP7Uo4GUMIGRMCIGA1UdEQQbMBmGF21hcnRsZXQ6Ly9o
            ZXJlL3NlZWQvdHdvMAwGA1UdEwEB/wQCMAAwHQYDVR0lBBYwFAYIKwYBBQUHAwEG
            CCsGAQUFBwMCMB0GA1UdDgQWBBT8M4EwYcmZ3TK3vHlZR4nh1HAd+jAfBgNVHSME
            GDAWgBRLgqb9kqsQqXVEpALcdB1o5uQNUzAKBggqhkjOPQQDAgNHADBEAiBYCwDs
            Z2R2YueN69NJcKg1YlCTGEqgwKvPCXoPgl+iGgIgF1q8P6FACunIxr2cj5I/aLSa
            HYjglc8Cxb+gVkSXl9U=
            -----END CERTIFICATE-----
            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJOa8K9JlHaSbacRb
            7dSuB5OgQGporNr1DAaB53FOt7OhRANCAATQCzdZzHhqaI2Ww+uMSA3bhPVG+aIk
            9rq8ANif5FQJuWIo4QYfj6+/u0/OoJdNxUXKvds7HYdJ0iRPPmutgP7U
            -----END PRIVATE KEY-----
            """)
    /// `martlet://here/peer/one` too, of another authority.
    public static let foreign = MadeCertificate(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBvTCCAWSgAwIBAgIULhchaR/Z0OgH3dDDpwv9eNOp+RUwCgYIKoZIzj0EAwIw
            EzERMA8GA1UEAwwIc3RyYW5nZXIwIBcNMjYxMTIxMDExOTQ5WhgPMjEyNjEwMjgw
            MTE5NDlaMBIxEDAOBgNVBAMMB2ZvcmVpZ24wWTATBgcqhkjOPQIBBggqhkjOPQMB
            BwNCAASoNLLATgVWFgW9RjluzeaITGE0olwtU6bFqX0Fw3RCvCxmKK4U4p6oh8xW
            Cpa6KllbbQFTI9ClIaF/nPlih45jo4GUMIGRMCIGA1UdEQQbMBmGF21hcnRsZXQ6
            Ly9oZXJlL3BlZXIvb25lMAwGA1UdEwEB/wQCMAAwHQYDVR0lBBYwFAYIKwYBBQUH
            AwEGCCsGAQUFBwMCMB0GA1UdDgQWBBRicFmQC+igL7K3a4j8Ae21nbbo2zAfBgNV
            HSMEGDAWgBQ2jAcSa2K3kal0oeyaOQ+7TApExTAKBggqhkjOPQQDAgNHADBEAiBX
            P3rVAkEP7ZrHRSyjAbN/7km8JXcljhnKcl430wawgwIgK8tC5aSRGKnWzzJCjY3B
            ifp6+W1wDGY6dKNyHg1H6l8=
            -----END CERTIFICATE-----
            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsgsZWGj+5qfOORYK
            NywiJIQlx7Uqcm4vvuIE+hOMqqGhRANCAASoNLLATgVWFgW9RjluzeaITGE0olwt
            U6bFqX0Fw3RCvCxmKK4U4p6oh8xWCpa6KllbbQFTI9ClIaF/nPlih45j
            -----END PRIVATE KEY-----
            """)
    /// `martlet://here/peer/one` too, over for long.
    public static let expired = MadeCertificate(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBvDCCAWOgAwIBAgIUQisur2SJp1RMznIW1Z4eOT1aKiMwCgYIKoZIzj0EAwIw
            FDESMBAGA1UEAwwJYXV0aG9yaXR5MB4XDTI2MTEyMTAxMTk0OVoXDTI2MTEyMDAx
            MTk0OVowEjEQMA4GA1UEAwwHZXhwaXJlZDBZMBMGByqGSM49AgEGCCqGSM49AwEH
            A0IABEKHSu0ACxn9oEviO1V0KbByKeRYFKrdwwHASrXaRWGJZbzDWX/UajWZsLGQ
            YtfHIg153ae7VTewRqCXlU90mBmjgZQwgZEwIgYDVR0RBBswGYYXbWFydGxldDov
            L2hlcmUvcGVlci9vbmUwDAYDVR0TAQH/BAIwADAdBgNVHSUEFjAUBggrBgEFBQcD
            AQYIKwYBBQUHAwIwHQYDVR0OBBYEFPKLvuGgtN5gAgJgeOiB0XD10t8hMB8GA1Ud
            IwQYMBaAFEuCpv2SqxCpdUSkAtx0HWjm5A1TMAoGCCqGSM49BAMCA0cAMEQCIBf/
            8ZmXum0jII25lggV/0YpuCgEeR4mX+KQw0a+JHZWAiAsOKgZtGBy0T8R91oym22C
            Ohg77Ca91/IcU1UAnEUSKg==
            -----END CERTIFICATE-----
            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+q1XbPdFilGKiF03
            T/0Cllu2l18GTp+xp60xDHML7d6hRANCAARCh0rtAAsZ/aBL4jtVdCmwcinkWBSq
            3cMBwEq12kVhiWW8w1l/1Go1mbCxkGLXxyINed2nu1U3sEagl5VPdJgZ
            -----END PRIVATE KEY-----
            """)
}
