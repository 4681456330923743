/* config_yaml.h - the settings of a YAML file, with the place of whatever is wrong.
 * Private to config. Threads: none of its own. */
#pragma once

#include "server/config.h"

/* A bootstrap of 10,000 arms is a few of them. */
#define CONFIG_YAML_MAX_MIB 16

/* Reads config->file into config. On error nothing is promised about config but config_free. */
MUST_USE enum err config_yaml_load(struct config *config, struct err_detail *detail);
void config_yaml_free(struct config *config);
