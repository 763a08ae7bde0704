// libcurl as Swift can call it: its variadic functions, one wrapper per argument type.
// Contracts are libcurl's own (curl_easy_setopt(3), curl_easy_getinfo(3), curl_multi_setopt(3)).
#pragma once

#include <curl/curl.h>
#include <stddef.h>
#include <stdint.h>

// What libcurl calls with header lines and body bytes; returns how many bytes it took.
typedef size_t (*martlet_curl_receive)(char *_Nullable bytes, size_t size, size_t count, void *_Nullable context);

// curl_easy_setopt with a long.
CURLcode martlet_curl_set_long(CURL *_Nonnull handle, CURLoption option, long value);
// curl_easy_setopt with a string, which libcurl copies.
CURLcode martlet_curl_set_string(CURL *_Nonnull handle, CURLoption option, const char *_Nonnull value);
// curl_easy_setopt with a pointer, which must outlive the transfer.
CURLcode martlet_curl_set_pointer(CURL *_Nonnull handle, CURLoption option, void *_Nullable value);
// CURLOPT_HTTPHEADER; the list must outlive the transfer.
CURLcode martlet_curl_set_headers(CURL *_Nonnull handle, struct curl_slist *_Nullable list);
// CURLOPT_WRITEFUNCTION and CURLOPT_HEADERFUNCTION with one context for both.
CURLcode martlet_curl_set_receivers(CURL *_Nonnull handle, martlet_curl_receive _Nonnull body,
                                    martlet_curl_receive _Nonnull header, void *_Nullable context);
// curl_easy_getinfo for a long; 0 when libcurl does not know.
long martlet_curl_get_long(CURL *_Nonnull handle, CURLINFO info);
// curl_easy_getinfo for a string owned by the handle; NULL when libcurl does not know.
const char *_Nullable martlet_curl_get_string(CURL *_Nonnull handle, CURLINFO info);
// curl_multi_setopt with a long.
CURLMcode martlet_curl_multi_set_long(CURLM *_Nonnull multi, CURLMoption option, long value);

// Asked before a socket to an address is opened, for hosts as for proxies, with the address that the name was resolved
// to: 4 or 16 bytes in network order, and the port. Nonzero opens it; otherwise the address is passed over.
typedef int (*martlet_curl_admit)(void *_Nullable context, const void *_Nonnull address, size_t address_bytes,
                                  uint16_t port);

// CURLOPT_OPENSOCKETFUNCTION: `gate` and what `admit` is given must outlive the transfer.
typedef struct martlet_curl_gate {
    martlet_curl_admit _Nonnull admit;
    void *_Nullable context;
} martlet_curl_gate;
CURLcode martlet_curl_set_gate(CURL *_Nonnull handle, martlet_curl_gate *_Nonnull gate);

// The host that libcurl would ask for `url`, or for `reference` seen from `url` (a Location), in libcurl's own reading:
// decimal and octal IPv4 become dotted, IPv6 stands in brackets. Writes it with its NUL and returns the port, or
// -EINVAL for what is no http(s) URL and -ENAMETOOLONG.
int martlet_curl_server_of(const char *_Nonnull url, const char *_Nullable reference, char *_Nonnull host,
                           size_t host_bytes);

// The addresses that a name has now, at most `addresses_max` of 17 bytes each: how many bytes count (4 or 16) and they.
// Blocks. Returns how many, or -EHOSTUNREACH.
int martlet_curl_resolve(const char *_Nonnull name, uint8_t *_Nonnull addresses, size_t addresses_max);

// Reads any form of an IPv4 address that inet_aton(3) takes, or an IPv6 address without brackets, into 16 bytes.
// Returns 4 or 16, or -EINVAL.
int martlet_curl_parse_address(const char *_Nonnull text, uint8_t *_Nonnull bytes);
