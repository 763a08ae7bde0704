// libcurl as Swift can call it: its variadic functions, one wrapper per argument type.
// Contracts are libcurl's own (curl_easy_setopt(3), curl_easy_getinfo(3), curl_multi_setopt(3)).
#pragma once

#include <curl/curl.h>
#include <stddef.h>

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
