#define _GNU_SOURCE
#include "CCurl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

// curl's type-checking macros do not see through the wrappers' parameters.
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

CURLcode martlet_curl_set_long(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

CURLcode martlet_curl_set_string(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}

CURLcode martlet_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return curl_easy_setopt(handle, option, value);
}

CURLcode martlet_curl_set_headers(CURL *handle, struct curl_slist *list) {
    return curl_easy_setopt(handle, CURLOPT_HTTPHEADER, list);
}

CURLcode martlet_curl_set_receivers(CURL *handle, martlet_curl_receive body, martlet_curl_receive header,
                                    void *context) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, body);
    if (code == CURLE_OK) code = curl_easy_setopt(handle, CURLOPT_WRITEDATA, context);
    if (code == CURLE_OK) code = curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, header);
    if (code == CURLE_OK) code = curl_easy_setopt(handle, CURLOPT_HEADERDATA, context);
    return code;
}

long martlet_curl_get_long(CURL *handle, CURLINFO info) {
    long value = 0;
    return curl_easy_getinfo(handle, info, &value) == CURLE_OK ? value : 0;
}

const char *martlet_curl_get_string(CURL *handle, CURLINFO info) {
    const char *value = NULL;
    return curl_easy_getinfo(handle, info, &value) == CURLE_OK ? value : NULL;
}

CURLMcode martlet_curl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
    return curl_multi_setopt(multi, option, value);
}

static curl_socket_t open_admitted(void *context, curlsocktype purpose, struct curl_sockaddr *place) {
    const martlet_curl_gate *gate = context;
    (void)purpose;
    int admitted = 0;
    if (place->family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&place->addr;
        admitted = gate->admit(gate->context, &v4->sin_addr, 4, ntohs(v4->sin_port));
    } else if (place->family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&place->addr;
        admitted = gate->admit(gate->context, &v6->sin6_addr, 16, ntohs(v6->sin6_port));
    }
    // Other families (a proxy's Unix socket) cannot be asked for by URL and are not admitted.
    return admitted ? socket(place->family, place->socktype | SOCK_CLOEXEC, place->protocol) : CURL_SOCKET_BAD;
}

CURLcode martlet_curl_set_gate(CURL *handle, martlet_curl_gate *gate) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, open_admitted);
    return code == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, gate) : code;
}

int martlet_curl_server_of(const char *url, const char *reference, char *host, size_t host_bytes) {
    CURLU *parsed = curl_url();
    if (parsed == NULL) return -EINVAL;
    char *scheme = NULL, *name = NULL, *port = NULL;
    int result = -EINVAL;
    if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        (reference == NULL || curl_url_set(parsed, CURLUPART_URL, reference, CURLU_URLENCODE) == CURLUE_OK) &&
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0) &&
        curl_url_get(parsed, CURLUPART_HOST, &name, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        size_t length = strlen(name);
        if (length < host_bytes) {
            memcpy(host, name, length + 1);
            result = (int)strtol(port, NULL, 10);
        } else {
            result = -ENAMETOOLONG;
        }
    }
    curl_free(scheme);
    curl_free(name);
    curl_free(port);
    curl_url_cleanup(parsed);
    return result;
}

int martlet_curl_resolve(const char *name, uint8_t *addresses, size_t addresses_max) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(name, NULL, &hints, &list) != 0) return -EHOSTUNREACH;
    size_t count = 0;
    for (struct addrinfo *each = list; each != NULL && count < addresses_max; each = each->ai_next) {
        uint8_t *place = addresses + 17 * count;
        if (each->ai_family == AF_INET) {
            place[0] = 4;
            memcpy(place + 1, &((struct sockaddr_in *)each->ai_addr)->sin_addr, 4);
        } else if (each->ai_family == AF_INET6) {
            place[0] = 16;
            memcpy(place + 1, &((struct sockaddr_in6 *)each->ai_addr)->sin6_addr, 16);
        } else {
            continue;
        }
        count++;
    }
    freeaddrinfo(list);
    return (int)count;
}

int martlet_curl_parse_address(const char *text, uint8_t *bytes) {
    struct in_addr v4;
    if (inet_aton(text, &v4) == 1) {
        memcpy(bytes, &v4, 4);
        return 4;
    }
    return inet_pton(AF_INET6, text, bytes) == 1 ? 16 : -EINVAL;
}
