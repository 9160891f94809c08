/* Every call on shared files, locked and growing memory: kinds 6 to 11. */
#define FIRST 6
#define LAST 11
#include "every.h"
