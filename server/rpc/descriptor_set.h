/* descriptor_set.h - our .proto files as a FileDescriptorSet, made and embedded by the build.
 * Why: reflection must describe exactly the contract that this binary speaks.
 * Threads: constant. */
#pragma once

#include <stddef.h>

extern const unsigned char descriptor_set[];
extern const size_t descriptor_set_bytes;
