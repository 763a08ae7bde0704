#include "CAlternatives.h"

#include <dlfcn.h>
#include <errno.h>

#if __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>

enum { JOBS = 64 };

static IMB_MGR *manager(void) {
    static IMB_MGR *made = NULL;
    if (made != NULL) return made;
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW);
    if (library == NULL) return NULL;
    IMB_MGR *(*alloc)(uint64_t) = (IMB_MGR * (*)(uint64_t)) dlsym(library, "alloc_mb_mgr");
    void (*init)(IMB_MGR *, IMB_ARCH *) = (void (*)(IMB_MGR *, IMB_ARCH *))dlsym(library, "init_mb_mgr_auto");
    if (alloc == NULL || init == NULL) return NULL;
    made = alloc(0);
    if (made != NULL) init(made, NULL);
    return made;
}

int martlet_sha256_leaves(const void *bytes, size_t count, size_t leafBytes, uint8_t *digests) {
    IMB_MGR *lanes = manager();
    if (lanes == NULL) return -ENOENT;
    static IMB_JOB jobs[JOBS];
    const size_t leaves = count / leafBytes;
    for (size_t first = 0; first < leaves; first += JOBS) {
        const uint32_t number = (uint32_t)(leaves - first < JOBS ? leaves - first : JOBS);
        for (uint32_t index = 0; index < number; index++) {
            IMB_JOB *job = &jobs[index];
            job->src = (const uint8_t *)bytes + (first + index) * leafBytes;
            job->hash_start_src_offset_in_bytes = 0;
            job->msg_len_to_hash_in_bytes = leafBytes;
            job->auth_tag_output = digests + 32 * (first + index);
            job->auth_tag_output_len_in_bytes = 32;
            job->cipher_mode = IMB_CIPHER_NULL;
            job->cipher_direction = IMB_DIR_ENCRYPT;
            job->chain_order = IMB_ORDER_HASH_CIPHER;
            job->hash_alg = IMB_AUTH_SHA_256;
        }
        for (uint32_t index = 0; index < number; index++) {
            IMB_JOB *slot = IMB_GET_NEXT_JOB(lanes);
            *slot = jobs[index];
            (void)IMB_SUBMIT_JOB_NOCHECK(lanes);
        }
    }
    const IMB_JOB *last = NULL;
    for (const IMB_JOB *job = IMB_FLUSH_JOB(lanes); job != NULL; job = IMB_FLUSH_JOB(lanes)) last = job;
    return last == NULL || last->status == IMB_STATUS_COMPLETED ? 0 : -EIO;
}
#else
int martlet_sha256_leaves(const void *bytes, size_t count, size_t leafBytes, uint8_t *digests) {
    (void)bytes, (void)count, (void)leafBytes, (void)digests;
    return -ENOENT;
}
#endif

int martlet_crc32c(const void *bytes, size_t count, uint32_t *sum) {
    static unsigned int (*crc)(unsigned char *, int, unsigned int) = NULL;
    if (crc == NULL) {
        void *library = dlopen("libisal.so.2", RTLD_NOW);
        if (library == NULL) return -ENOENT;
        crc = (unsigned int (*)(unsigned char *, int, unsigned int))dlsym(library, "crc32_iscsi");
        if (crc == NULL) return -ENOENT;
    }
    *sum = crc((unsigned char *)bytes, (int)count, 0);
    return 0;
}
