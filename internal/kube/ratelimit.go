package kube

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// RateLimit is one limit of the EventRateLimit plugin.
type RateLimit struct {
	// Type is Server, Namespace, User or SourceAndObject.
	Type string
	// QPS and Burst are events a second and the size of the bucket, above 0.
	QPS, Burst int32
	// CacheSize is the number of buckets kept; 0 stands for the plugin's 4096.
	CacheSize int32
}

// rateLimitTypes are the types a limit can have.
var rateLimitTypes = []string{"Server", "Namespace", "User", "SourceAndObject"}

const rateLimitAdvice = "a Configuration of eventratelimit.admission.k8s.io/v1alpha1 has limits, each with type, qps, burst and perhaps cacheSize"

var (
	rateLimitStrict = sync.OnceValue(func() serializer.CodecFactory {
		return serializer.NewCodecFactory(rateLimitScheme(), serializer.EnableStrict)
	})
	rateLimitLenient = sync.OnceValue(func() serializer.CodecFactory {
		return serializer.NewCodecFactory(rateLimitScheme())
	})
)

// eventRateLimit reads the plugin's configuration. The plugin does not
// complain of unknown fields: they are ignored here too, and told.
func (l *admissionLoader) eventRateLimit(data []byte, src source) {
	if data == nil {
		return // without a configuration the plugin has no limits; whether that matters depends on its being enabled
	}
	decoded, _, err := rateLimitStrict().UniversalDeserializer().Decode(data, nil, nil)
	if runtime.IsStrictDecodingError(err) {
		l.out.Ignored = append(l.out.Ignored, src.decodeErrors(err, rateLimitAdvice)...)
		decoded, _, err = rateLimitLenient().UniversalDeserializer().Decode(data, nil, nil)
	}
	if err != nil {
		l.errs = append(l.errs, src.decodeErrors(err, rateLimitAdvice)...)
		return
	}
	config, ok := decoded.(*rateLimitConfiguration)
	if !ok {
		l.errs = append(l.errs, src.errorf("", "unexpected type: %T; %s", decoded, rateLimitAdvice))
		return
	}
	if len(config.Limits) == 0 {
		l.errs = append(l.errs, src.errorf("limits", "limits: Invalid value: null: must not be empty; "+rateLimitAdvice))
		return
	}
	for i, limit := range config.Limits {
		l.errs = append(l.errs, checkRateLimit(limit, src.below(fmt.Sprintf("limits[%d]", i)))...)
		l.out.EventRateLimit = append(l.out.EventRateLimit, RateLimit(limit))
	}
}

// checkRateLimit applies the plugin's own rules.
func checkRateLimit(limit rateLimit, src source) []*Error {
	var errs []*Error
	if !slices.Contains(rateLimitTypes, limit.Type) {
		errs = append(errs, src.errorf("type", "type: Unsupported value: %q: it is one of %s", word(limit.Type), strings.Join(rateLimitTypes, ", ")))
	}
	if limit.Burst <= 0 {
		errs = append(errs, src.errorf("burst", "burst: Invalid value: %d: must be positive (how many events are taken at once)", limit.Burst))
	}
	if limit.QPS <= 0 {
		errs = append(errs, src.errorf("qps", "qps: Invalid value: %d: must be positive (events a second)", limit.QPS))
	}
	if limit.Type != "Server" && limit.CacheSize < 0 {
		errs = append(errs, src.errorf("cacheSize", "cacheSize: Invalid value: %d: must not be negative; leave it out for 4096", limit.CacheSize))
	}
	return errs
}
