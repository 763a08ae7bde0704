#include "CCrypto.h"
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

// Ends every function: OpenSSL's queue of errors is a thread's, and others would read ours.
static int done(int result) {
    ERR_clear_error();
    return result;
}

static int text_of(BIO *bio, char *pem, size_t capacity) {
    char *bytes = NULL;
    long count = BIO_get_mem_data(bio, &bytes);
    if (count < 0) return -EIO;
    if ((size_t)count + 1 > capacity) return -ENOSPC;
    memcpy(pem, bytes, (size_t)count);
    pem[count] = 0;
    return (int)count;
}

static EVP_PKEY *read_key(const char *pem) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (bio == NULL) return NULL;
    // No password is asked for at a terminal: an empty one is given.
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    return key;
}

static X509 *read_certificate(const char *pem) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (bio == NULL) return NULL;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    return certificate;
}

int martlet_crypto_make_key(char *pem, size_t capacity) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_secmem());
    int result = -EIO;
    if (key != NULL && bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
        result = text_of(bio, pem, capacity);
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return done(result);
}

int martlet_crypto_make_request(const char *key_pem, char *pem, size_t capacity) {
    EVP_PKEY *key = read_key(key_pem);
    if (key == NULL) return done(-EINVAL);
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    int result = -EIO;
    if (request != NULL && bio != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0 &&
        PEM_write_bio_X509_REQ(bio, request) == 1) {
        result = text_of(bio, pem, capacity);
    }
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return done(result);
}

// Serial, names and times, which every certificate has.
static int fill(X509 *certificate, const uint8_t *serial, const char *common_name, int64_t not_before, int64_t not_after) {
    BIGNUM *number = BN_bin2bn(serial, MARTLET_CRYPTO_SERIAL_BYTES, NULL);
    X509_NAME *name = X509_NAME_new();
    int ok = number != NULL && name != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
             BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL &&
             X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1,
                                        0) == 1 &&
             X509_set_subject_name(certificate, name) == 1 &&
             ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)not_before) != NULL &&
             ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)not_after) != NULL;
    X509_NAME_free(name);
    BN_free(number);
    return ok;
}

static int extend(X509 *certificate, X509 *authority, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, authority, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    int ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

int martlet_crypto_make_authority(const char *key_pem, const char *common_name, const uint8_t *serial,
                                  int64_t not_before_unix_s, int64_t not_after_unix_s, char *pem, size_t capacity) {
    EVP_PKEY *key = read_key(key_pem);
    if (key == NULL) return done(-EINVAL);
    X509 *made = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    int result = -EIO;
    if (made != NULL && bio != NULL && fill(made, serial, common_name, not_before_unix_s, not_after_unix_s) &&
        X509_set_issuer_name(made, X509_get_subject_name(made)) == 1 && X509_set_pubkey(made, key) == 1 &&
        extend(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        extend(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        extend(made, made, NID_subject_key_identifier, "hash") && X509_sign(made, key, EVP_sha256()) > 0 &&
        PEM_write_bio_X509(bio, made) == 1) {
        result = text_of(bio, pem, capacity);
    }
    BIO_free(bio);
    X509_free(made);
    EVP_PKEY_free(key);
    return done(result);
}

static int add_name(GENERAL_NAMES *names, int type, const char *text) {
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();
    if (name == NULL || string == NULL || ASN1_STRING_set(string, text, -1) != 1) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(string);
        return 0;
    }
    GENERAL_NAME_set0_value(name, type, string);
    if (sk_GENERAL_NAME_push(names, name) > 0) return 1;
    GENERAL_NAME_free(name);
    return 0;
}

// Made as a structure and not from a configuration text, in which a name could smuggle a further one.
static int name_all(X509 *certificate, const martlet_crypto_issue_order *order) {
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (names == NULL) return 0;
    int ok = add_name(names, GEN_URI, order->uri);
    for (size_t i = 0; ok && i < order->dns_name_count; i++) ok = add_name(names, GEN_DNS, order->dns_names[i]);
    ok = ok && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

int martlet_crypto_issue(const martlet_crypto_issue_order *order, char *pem, size_t capacity) {
    if (order->dns_name_count > MARTLET_CRYPTO_NAMES_MAX) return -EINVAL;
    int result = -EINVAL;
    X509 *authority = read_certificate(order->authority_pem), *made = NULL;
    EVP_PKEY *key = read_key(order->authority_key_pem), *asking = NULL;
    BIO *text = BIO_new_mem_buf(order->request_pem, -1), *bio = NULL;
    X509_REQ *request = text == NULL ? NULL : PEM_read_bio_X509_REQ(text, NULL, NULL, (void *)"");
    if (authority == NULL || key == NULL || request == NULL) goto end;
    asking = X509_REQ_get_pubkey(request);
    if (asking == NULL || EVP_PKEY_get_base_id(asking) != EVP_PKEY_EC || EVP_PKEY_get_bits(asking) != 256) goto end;
    result = -EACCES;
    if (X509_REQ_verify(request, asking) != 1) goto end;
    result = -EIO;
    made = X509_new();
    bio = BIO_new(BIO_s_mem());
    if (made != NULL && bio != NULL &&
        fill(made, order->serial, order->common_name, order->not_before_unix_s, order->not_after_unix_s) &&
        X509_set_issuer_name(made, X509_get_subject_name(authority)) == 1 && X509_set_pubkey(made, asking) == 1 &&
        extend(made, authority, NID_basic_constraints, "critical,CA:FALSE") &&
        extend(made, authority, NID_key_usage, "critical,digitalSignature") &&
        extend(made, authority, NID_ext_key_usage, "serverAuth,clientAuth") &&
        extend(made, authority, NID_authority_key_identifier, "keyid:always") && name_all(made, order) &&
        X509_sign(made, key, EVP_sha256()) > 0 && PEM_write_bio_X509(bio, made) == 1) {
        result = text_of(bio, pem, capacity);
    }
end:
    BIO_free(bio);
    BIO_free(text);
    X509_REQ_free(request);
    X509_free(made);
    X509_free(authority);
    EVP_PKEY_free(asking);
    EVP_PKEY_free(key);
    return done(result);
}

static int64_t unix_time(const ASN1_TIME *time) {
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    return ok ? (int64_t)days * 86400 + seconds : 0;
}

// The only URI among the names, when there is exactly one, that fits and holds no NUL.
static void read_uri(X509 *certificate, char *uri) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int found = 0;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        int type = 0;
        const ASN1_IA5STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type != GEN_URI) continue;
        size_t count = (size_t)ASN1_STRING_length(value);
        const unsigned char *bytes = ASN1_STRING_get0_data(value);
        found++;
        if (count >= MARTLET_CRYPTO_NAME_BYTES_MAX || memchr(bytes, 0, count) != NULL) continue;
        memcpy(uri, bytes, count);
        uri[count] = 0;
    }
    if (found != 1) uri[0] = 0;
    GENERAL_NAMES_free(names);
}

int martlet_crypto_describe(const char *pem, martlet_crypto_certificate *certificate) {
    memset(certificate, 0, sizeof *certificate);
    X509 *read = read_certificate(pem);
    if (read == NULL) return done(-EINVAL);
    int result = -EINVAL;
    unsigned char *key = NULL;
    int key_bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(read), &key);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(read);
    int serial_bytes = ASN1_STRING_length(serial);
    if (key_bytes > 0 && serial_bytes >= 0 && (size_t)serial_bytes <= sizeof certificate->serial) {
        SHA256(key, (size_t)key_bytes, certificate->public_key_hash);
        memcpy(certificate->serial, ASN1_STRING_get0_data(serial), (size_t)serial_bytes);
        certificate->serial_bytes = (uint32_t)serial_bytes;
        certificate->not_before_unix_s = unix_time(X509_get0_notBefore(read));
        certificate->not_after_unix_s = unix_time(X509_get0_notAfter(read));
        certificate->is_authority = X509_check_ca(read) == 1;
        read_uri(read, certificate->uri);
        result = 0;
    }
    OPENSSL_free(key);
    X509_free(read);
    return done(result);
}

int martlet_crypto_verify(const char *pem, const char *authority_pem, int64_t now_unix_s) {
    X509 *certificate = read_certificate(pem), *authority = read_certificate(authority_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int result = -EINVAL;
    if (certificate != NULL && authority != NULL && store != NULL && context != NULL &&
        X509_STORE_add_cert(store, authority) == 1 && X509_STORE_CTX_init(context, store, certificate, NULL) == 1) {
        X509_STORE_CTX_set_time(context, 0, (time_t)now_unix_s);
        result = X509_verify_cert(context) == 1 ? 0 : -EACCES;
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    X509_free(authority);
    X509_free(certificate);
    return done(result);
}

int martlet_crypto_key_fits(const char *key_pem, const char *certificate_pem) {
    EVP_PKEY *key = read_key(key_pem);
    X509 *certificate = read_certificate(certificate_pem);
    int fits = key != NULL && certificate != NULL && X509_check_private_key(certificate, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return done(fits);
}

void martlet_crypto_sha256(const void *bytes, size_t count, uint8_t *hash) {
    // SHA256 takes no NULL, even of no bytes.
    SHA256(bytes == NULL ? (const unsigned char *)"" : bytes, count, hash);
}

int martlet_crypto_equal(const void *left, const void *right, size_t count) {
    return CRYPTO_memcmp(left, right, count) == 0;
}
