/* Reads every seed of a directory once, and every prefix of the small ones: the main of a fuzz
 * target in a build without libFuzzer. Fails when there is no seed, since then it proves nothing.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define SEED_MAX (1u << 20)
#define PREFIX_MAX 4096

static int read_seed(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "rb");
    uint8_t *bytes = malloc(SEED_MAX);
    if (!in || !bytes) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    size_t n = fread(bytes, 1, SEED_MAX, in);
    fclose(in);
    if (fuzz_decodes && strncmp(name, "bad", 3) != 0 && !fuzz_decodes(bytes, n)) {
        fprintf(stderr, "%s does not decode: make it anew, or name it bad_...\n", path);
        exit(1);
    }
    for (size_t len = n > PREFIX_MAX ? n : 0; len <= n; len++) {
        /* A block of exactly this length: a read beyond it is seen by the address sanitizer. */
        uint8_t *exact = malloc(len ? len : 1);
        if (!exact)
            exit(1);
        memcpy(exact, bytes, len);
        LLVMFuzzerTestOneInput(exact, len);
        free(exact);
    }
    free(bytes);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s SEEDS-DIRECTORY\n", argv[0]);
        return 1;
    }
    int seeds = 0;
    for (struct dirent *d = readdir(dir); d; d = readdir(dir))
        if (d->d_name[0] != '.')
            seeds += read_seed(argv[1], d->d_name);
    closedir(dir);
    printf("%d seeds\n", seeds);
    return seeds > 0 ? 0 : 1;
}
