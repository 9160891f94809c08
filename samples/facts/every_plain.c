/* Every call on memory without flags of its own: kinds 0 to 5. */
#define FIRST 0
#define LAST 5
#include "every.h"
